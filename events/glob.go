package events

import "strings"

// match reports whether a channel matches a pattern. It follows exactly the rules of PSUBSCRIBE and
// KEYS in Redis (util.c, stringmatchlen). It compares bytes, not runes: * matches any bytes, ?
// matches one byte, [abc] [^abc] and [a-z] match a class, and \ escapes a byte. A malformed pattern
// matches what it matches in Redis. The worst case takes O(len(pattern)·len(channel)).
func match(pattern, channel string) bool {
	p, c := 0, 0
	star, from := -1, 0 // where to continue when the last * must match one more byte
	for c < len(channel) {
		if p < len(pattern) {
			if pattern[p] == '*' {
				star, from = p+1, c
				p++
				continue
			}
			if next, ok := matchOne(pattern, p, channel[c]); ok {
				p, c = next, c+1
				continue
			}
		}
		if star < 0 {
			return false
		}
		from++
		p, c = star, from
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// matchOne matches one byte against the pattern at p. It returns the place where the pattern
// continues.
func matchOne(pattern string, p int, b byte) (next int, ok bool) {
	switch pattern[p] {
	case '?':
		return p + 1, true
	case '[':
		return matchClass(pattern, p+1, b)
	case '\\':
		if p+1 < len(pattern) {
			p++
		}
	}
	return p + 1, pattern[p] == b
}

// matchClass matches one byte against the class that begins at p. A class without a closing bracket
// ends with the pattern.
func matchClass(pattern string, p int, b byte) (next int, ok bool) {
	not := p < len(pattern) && pattern[p] == '^'
	if not {
		p++
	}
	found := false
	for {
		rest := len(pattern) - p
		switch {
		case rest == 0:
			return p, found != not
		case rest >= 2 && pattern[p] == '\\':
			p++
			found = found || pattern[p] == b
		case pattern[p] == ']':
			return p + 1, found != not
		case rest >= 3 && pattern[p+1] == '-':
			// Redis compares chars, which are signed on the machines that most servers run on.
			first, last := int8(pattern[p]), int8(pattern[p+2])
			found = found || min(first, last) <= int8(b) && int8(b) <= max(first, last)
			p += 2
		default:
			found = found || pattern[p] == b
		}
		p++
	}
}

// exact reports whether a pattern matches only the channel of the same name.
func exact(pattern string) bool { return !strings.ContainsAny(pattern, `*?[\`) }
