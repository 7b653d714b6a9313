package idempotency

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// result is a response that can be repeated.
type result struct {
	status int
	header http.Header // what the handler added or changed
	body   string
}

// neverStored are the response fields that belong to one connection or to one moment (RFC 9110,
// section 7.6.1), and Set-Cookie: a stored cookie would be a secret in Redis, and a replay could
// restore a session that has ended.
var neverStored = []string{
	"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade", "Content-Length", "Date", "Set-Cookie", replayedField,
}

// noType stands for a Content-Type without a value: net/http then does not detect the type from the
// body.
var noType = []string{""}

// newResult returns the result of a handler. before is the header when the handler began: fields
// that outer middlewares set, and that the handler did not change, are not part of the result. A
// replay has the present values of these fields.
func newResult(status int, before, after http.Header, body string) *result {
	res := &result{status: status, header: http.Header{}, body: body}
	for name, values := range after {
		if name == "Content-Type" && len(values) == 0 {
			values = noType
		}
		if slices.Equal(values, before[name]) || slices.Contains(neverStored, http.CanonicalHeaderKey(name)) ||
			strings.HasPrefix(name, http.TrailerPrefix) {
			continue
		}
		if names(after["Connection"], name) || names(after["Trailer"], name) {
			continue
		}
		res.header[name] = values
	}
	return res
}

// names reports whether the lines of a list field name another field.
func names(lines []string, field string) bool {
	for _, line := range lines {
		for name := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(name), field) {
				return true
			}
		}
	}
	return false
}

// encode returns the three fields of a record. The header has the form of HTTP/1.1. A nil result
// has the status 0.
func (res *result) encode() (status, header, body string) {
	if res == nil {
		return "0", "", ""
	}
	var b strings.Builder
	if err := res.header.Write(&b); err != nil { // cannot happen: a Builder returns no error
		panic(err)
	}
	return strconv.Itoa(res.status), b.String(), res.body
}

// decodeResult parses the fields of a record. A value can have any byte that a handler has set,
// except CR and LF, which encode replaces.
func decodeResult(status int, header, body string) (*result, error) {
	if status < 200 || status > 999 {
		return nil, fmt.Errorf("the stored status is %d", status)
	}
	fields := http.Header{}
	for line := range strings.SplitSeq(header, "\r\n") {
		if line == "" { // after the last field
			continue
		}
		name, value, ok := strings.Cut(line, ": ")
		if !ok {
			return nil, errors.New("a line of the stored header has no colon")
		}
		fields[name] = append(fields[name], value)
	}
	return &result{status: status, header: fields, body: body}, nil
}

// replay sends a stored result.
func (res *result) replay(w http.ResponseWriter) {
	header := w.Header()
	maps.Copy(header, res.header)
	if slices.Equal(header["Content-Type"], noType) {
		header["Content-Type"] = nil
	}
	header.Set(replayedField, "true")
	if bodyAllowed(res.status) {
		header.Set("Content-Length", strconv.Itoa(len(res.body)))
	}
	w.WriteHeader(res.status)
	_, _ = w.Write([]byte(res.body)) // a client that has disconnected can ask again
}

// bodyAllowed reports whether a response with this status may have a body (RFC 9110, section
// 6.4.1).
func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// size returns the bytes of a result, as they count for Options.MaxResponseBytes.
func (res *result) size() int {
	n := len(res.body)
	for name, values := range res.header {
		for _, value := range values {
			n += len(name) + len(value) + len(": \r\n")
		}
	}
	return n
}
