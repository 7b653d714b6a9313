package idempotency

import (
	"net/http"
	"strings"
)

// The request and response fields, as http.Header stores them.
const (
	keyField      = "Idempotency-Key"
	replayedField = "Idempotent-Replayed" // "true" on a replayed response
)

// keyOf returns the key of a request. The field is an Item of RFC 9651 that must be a String
// (draft-ietf-httpapi-idempotency-key-header-07, section 2.1). Parameters are ignored, because the
// draft defines none.
func keyOf(h http.Header, unquoted bool) (key string, present bool, err error) {
	lines := h[keyField]
	if len(lines) == 0 {
		return "", false, nil
	}
	if len(lines) > 1 {
		return "", true, errSeveralKeys
	}

	line := strings.Trim(lines[0], " ")
	key, rest, ok := cutString(line)
	if !ok && unquoted && isToken(line) {
		key, rest, ok = line, "", true
	}

	switch rest = strings.TrimLeft(rest, " "); {
	case !ok || rest != "" && (rest[0] != ';' || !isPrintable(rest)):
		return "", true, errNotString
	case key == "":
		return "", true, errEmptyKey
	case len(key) > maxKey:
		return "", true, errLongKey
	}
	return key, true, nil
}

// cutString parses a String of RFC 9651, section 3.3.3, at the begin of s.
func cutString(s string) (value, rest string, ok bool) {
	if s == "" || s[0] != '"' {
		return "", "", false
	}
	if end := strings.IndexAny(s[1:], `"\`); end >= 0 && s[1+end] == '"' { // nothing is escaped
		return s[1 : 1+end], s[2+end:], isPrintable(s[1 : 1+end])
	}

	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:], true
		case c < ' ' || c > '~':
			return "", "", false
		case c != '\\':
			b.WriteByte(c)
		case i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\'):
			i++
			b.WriteByte(s[i])
		default:
			return "", "", false
		}
	}
	return "", "", false
}

func isPrintable(s string) bool {
	return strings.IndexFunc(s, func(c rune) bool { return c < ' ' || c > '~' }) < 0
}

// isToken reports whether s is a key without quotes: visible characters that cannot be confused
// with the syntax of a list, a String or a parameter.
func isToken(s string) bool {
	return s != "" && isPrintable(s) && !strings.ContainsAny(s, ` ",;\`)
}
