package events

import "strings"

// match reports whether a channel matches a pattern, by exactly the rules of Redis' PSUBSCRIBE and KEYS (util.c,
// stringmatchlen), bytes and not runes: * any bytes, ? one byte, [abc] [^abc] [a-z], and \ before a byte that is meant
// as itself. A malformed pattern matches what Redis lets it match. It takes O(len(pattern)·len(channel)) at worst.
func match(pattern, channel string) bool {
	p, c := 0, 0
	star, from := -1, 0 // where to go on when the last * has to take one byte more
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

// matchOne matches one byte against what stands at p, and returns where the pattern goes on.
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

// matchClass matches one byte against a class whose first byte is at p. A class that is not closed ends with the pattern.
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

// exact reports whether a pattern matches one channel only: itself.
func exact(pattern string) bool { return !strings.ContainsAny(pattern, `*?[\`) }
