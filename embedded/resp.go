package embedded

import (
	"bufio"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
)

// The types of replies, next to int64, float64, string (a bulk), []any and nil (a null):
type (
	status  string // a simple string
	failure string // an error, with its code
	pairs   []any  // a map: keys and values alternate
	push    []any  // out of band; an array in RESP2
	noArray struct{}
	silence struct{} // the answer comes later, or was written
)

const ok = status("OK")

const (
	wrongType   = failure("WRONGTYPE Operation against a key holding the wrong kind of value")
	syntaxError = failure("ERR syntax error")
	notInteger  = failure("ERR value is not an integer or out of range")
	notFloat    = failure("ERR value is not a valid float")
	noSuchKey   = failure("ERR no such key")
)

const (
	maxArgs = 1 << 20
	maxBulk = 512 << 20
	chunk   = 1 << 20 // memory is taken as bytes arrive, not as a length announces them
)

var errProtocol = errors.New("protocol error")

// readCommand reads an array of bulk strings, or a line of words. An empty line is not a command.
func readCommand(r *bufio.Reader) ([]string, error) {
	line, err := readLine(r)
	if err != nil || line == "" {
		return nil, err
	}
	if line[0] != '*' {
		return strings.Fields(line), nil
	}
	n, err := strconv.Atoi(line[1:])
	if err != nil || n > maxArgs {
		return nil, errProtocol
	}
	args := make([]string, 0, max(min(n, 1024), 0))
	for range n {
		arg, err := readBulk(r)
		if err != nil {
			return nil, err
		}
		args = append(args, arg)
	}
	return args, nil
}

func readBulk(r *bufio.Reader) (string, error) {
	line, err := readLine(r)
	if err != nil {
		return "", err
	}
	if line == "" || line[0] != '$' {
		return "", errProtocol
	}
	n, err := strconv.Atoi(line[1:])
	if err != nil || n < 0 || n > maxBulk {
		return "", errProtocol
	}
	var buf []byte
	for left := n + 2; left > 0; {
		part := min(left, chunk)
		start := len(buf)
		buf = append(buf, make([]byte, part)...)
		if _, err := io.ReadFull(r, buf[start:]); err != nil {
			return "", err
		}
		left -= part
	}
	return string(buf[:n]), nil
}

func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		if errors.Is(err, bufio.ErrBufferFull) {
			err = errProtocol
		}
		return "", err
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

// appendReply appends a reply in version 2 or 3 of the protocol.
func appendReply(b []byte, reply any, proto int) []byte {
	switch v := reply.(type) {
	case silence:
	case nil:
		if proto == 3 {
			return append(b, "_\r\n"...)
		}
		return append(b, "$-1\r\n"...)
	case noArray:
		if proto == 3 {
			return append(b, "_\r\n"...)
		}
		return append(b, "*-1\r\n"...)
	case status:
		return append(append(append(b, '+'), v...), "\r\n"...)
	case failure:
		return append(append(append(b, '-'), strings.NewReplacer("\r", " ", "\n", " ").Replace(string(v))...), "\r\n"...)
	case int64:
		return append(strconv.AppendInt(append(b, ':'), v, 10), "\r\n"...)
	case float64:
		if proto == 3 {
			return append(append(append(b, ','), formatFloat(v)...), "\r\n"...)
		}
		return appendBulk(b, formatFloat(v))
	case string:
		return appendBulk(b, v)
	case []string:
		b = appendLength(b, '*', len(v))
		for _, one := range v {
			b = appendBulk(b, one)
		}
	case []any:
		b = appendAll(appendLength(b, '*', len(v)), v, proto)
	case pairs:
		if proto == 3 {
			return appendAll(appendLength(b, '%', len(v)/2), v, proto)
		}
		return appendAll(appendLength(b, '*', len(v)), v, proto)
	case push:
		if proto == 3 {
			return appendAll(appendLength(b, '>', len(v)), v, proto)
		}
		return appendAll(appendLength(b, '*', len(v)), v, proto)
	}
	return b
}

func appendAll(b []byte, all []any, proto int) []byte {
	for _, one := range all {
		b = appendReply(b, one, proto)
	}
	return b
}

func appendLength(b []byte, kind byte, n int) []byte {
	return append(strconv.AppendInt(append(b, kind), int64(n), 10), "\r\n"...)
}

func appendBulk(b []byte, s string) []byte {
	return append(append(appendLength(b, '$', len(s)), s...), "\r\n"...)
}

// formatFloat writes a score as Redis does.
func formatFloat(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	case f == math.Trunc(f) && math.Abs(f) < 1e17:
		return strconv.FormatInt(int64(f), 10)
	}
	return strconv.FormatFloat(f, 'g', 17, 64)
}

func parseFloat(s string) (float64, bool) {
	switch strings.ToLower(s) {
	case "inf", "+inf", "infinity", "+infinity":
		return math.Inf(1), true
	case "-inf", "-infinity":
		return math.Inf(-1), true
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil && !math.IsNaN(f)
}
