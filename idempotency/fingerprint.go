package idempotency

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash"
	"io"
	"net/http"
)

// errTooLong reports a body above Options.MaxRequestBytes.
var errTooLong = errors.New("the body is longer than the limit")

// fingerprint reads the body of a request into memory, up to the limit, and returns the fingerprint
// of method, path, query and body. The handler can read the body again.
func (e *Executor) fingerprint(r *http.Request) (string, error) {
	if r.ContentLength > e.opt.MaxRequestBytes && e.opt.LargeRequests == RefuseLarge {
		return "", errTooLong
	}
	body, rest, err := readBody(r, e.opt.MaxRequestBytes)
	if err != nil {
		return "", err
	}
	if rest && e.opt.LargeRequests == RefuseLarge {
		return "", errTooLong
	}

	sum := sha256.New()
	writePart(sum, r.Method)
	writePart(sum, r.URL.EscapedPath())
	writePart(sum, r.URL.RawQuery)
	if rest {
		// a body of unknown length has the length -1
		_ = binary.Write(sum, binary.BigEndian, r.ContentLength) // a hash returns no error
	}
	sum.Write(body)

	whole := io.Reader(bytes.NewReader(body))
	if rest {
		whole = io.MultiReader(whole, r.Body)
	}
	r.Body = &readAgain{whole, r.Body}
	return base64.RawURLEncoding.EncodeToString(sum.Sum(nil)), nil
}

// readAgain is a request body that begins again. Close closes the connection's body.
type readAgain struct {
	io.Reader
	io.Closer
}

// writePart writes a length and a text, so that two lists of parts never have the same bytes.
func writePart(sum hash.Hash, part string) {
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(part)))
	sum.Write(length[:])
	_, _ = io.WriteString(sum, part) // a hash returns no error
}

// readBody reads at most limit bytes. rest reports that the body has more. A client that announces
// a length and sends less does not get the memory for the length.
func readBody(r *http.Request, limit int64) (body []byte, rest bool, err error) {
	if r.Body == nil || r.Body == http.NoBody {
		r.Body = http.NoBody
		return nil, false, nil
	}

	var b bytes.Buffer
	b.Grow(int(min(max(r.ContentLength, 0), limit, 64<<10)) + bytes.MinRead)
	if _, err := io.Copy(&b, io.LimitReader(r.Body, limit)); err != nil {
		return nil, false, err
	}
	if int64(b.Len()) < limit {
		return b.Bytes(), false, nil
	}

	var next [1]byte
	switch _, err := io.ReadFull(r.Body, next[:]); err {
	case nil:
		r.Body = &readAgain{io.MultiReader(bytes.NewReader(next[:]), r.Body), r.Body}
		return b.Bytes(), true, nil
	case io.EOF:
		return b.Bytes(), false, nil
	default:
		return nil, false, err
	}
}
