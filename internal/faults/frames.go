package faults

import (
	"bytes"
	"errors"
	"strconv"
)

// maxFrame bounds the bytes of one command or reply that the proxy holds.
const maxFrame = 64 << 20

var errFrame = errors.New("faults: malformed RESP")

// frame returns the length of the first command or reply in b. It is 0 if more bytes are needed.
func frame(b []byte) (n int, err error) {
	for left := 1; left > 0; left-- {
		end := bytes.Index(b[n:], []byte("\r\n"))
		if end < 0 {
			return 0, nil
		}
		line := b[n : n+end]
		n += end + 2
		if len(line) == 0 {
			continue
		}
		switch line[0] {
		case '$', '=', '!', '*', '~', '>', '%', '|':
		default: // a line: +OK, -ERR, :1, or an inline command
			continue
		}

		size, err := strconv.Atoi(string(line[1:]))
		if err != nil || size > maxFrame {
			return 0, errFrame
		}
		switch {
		case size < 0: // the null of RESP2
		case line[0] == '$' || line[0] == '=' || line[0] == '!':
			if n += size + 2; n > len(b) {
				return 0, nil
			}
		case line[0] == '%':
			left += 2 * size
		case line[0] == '|': // attributes come before the reply that they describe
			left += 2*size + 1
		default:
			left += size
		}
	}
	return n, nil
}

// name returns the command of a request, in capital letters.
func name(request []byte) string {
	if len(request) == 0 || request[0] != '*' {
		word, _, _ := bytes.Cut(request, []byte(" "))
		return string(bytes.ToUpper(bytes.TrimSpace(word)))
	}
	parts := bytes.SplitN(request, []byte("\r\n"), 4)
	if len(parts) < 4 {
		return ""
	}
	return string(bytes.ToUpper(parts[2]))
}
