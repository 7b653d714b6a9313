package keys

import "strings"

// table has true for each byte that is escaped.
type table [256]bool

// escapedInKey has the bytes that are escaped in a user key. These are the escape character, the
// braces of the hash tag, and characters with a meaning for a glob or a shell. All bytes that are
// not printable ASCII are escaped too. escapedInPart also has the separator, for a namespace,
// pattern or name.
var (
	escapedInKey  = newTable(`%{}*?[]\"' `)
	escapedInPart = newTable(`%{}*?[]\"' :`)
)

func newTable(special string) *table {
	var t table
	for c := range t {
		t[c] = c <= ' ' || c >= 0x7f || strings.IndexByte(special, byte(c)) >= 0
	}
	return &t
}

const upperHex = "0123456789ABCDEF"

// escapes counts the bytes of s that are escaped. Each makes the result two bytes longer.
func escapes(s string, t *table) (n int) {
	for i := range len(s) {
		if t[s[i]] {
			n++
		}
	}
	return n
}

func appendEscaped(b *strings.Builder, s string, t *table) {
	start := 0
	for i := range len(s) {
		c := s[i]
		if !t[c] {
			continue
		}
		b.WriteString(s[start:i])
		b.WriteByte('%')
		b.WriteByte(upperHex[c>>4])
		b.WriteByte(upperHex[c&15])
		start = i + 1
	}
	b.WriteString(s[start:])
}

func encode(s string, t *table) string {
	n := escapes(s, t)
	if n == 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 2*n)
	appendEscaped(&b, s, t)
	return b.String()
}

// decode accepts only results of encode. It refuses a byte that should have been escaped, an
// unneeded escape, lower-case hexadecimal digits, and an incomplete escape. Otherwise two keys on
// the server would stand for one user key.
func decode(s string, t *table) (string, bool) {
	var b strings.Builder
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !t[c] {
			continue
		}
		if c != '%' || i+2 >= len(s) {
			return "", false
		}
		hi, lo := unhex(s[i+1]), unhex(s[i+2])
		if hi < 0 || lo < 0 || !t[hi<<4|lo] {
			return "", false
		}
		if start == 0 {
			b.Grow(len(s))
		}
		b.WriteString(s[start:i])
		b.WriteByte(byte(hi<<4 | lo))
		i += 2
		start = i + 1
	}
	if start == 0 {
		return s, true
	}
	b.WriteString(s[start:])
	return b.String(), true
}

func unhex(c byte) int { return strings.IndexByte(upperHex, c) }
