// Package keys turns what users name into what the server stores, and back.
//
// Every key is
//
//	<namespace>:<pattern>:<name>:{<encoded user key>}[:<suffix>]
//
// and the parts can't run into each other whatever bytes they hold (guarantee A5):
//
//   - printable ASCII stays readable in redis-cli, everything that means something to Redis, to a
//     glob, to a shell or to this format becomes %XX;
//   - the braces hold the user key and nothing else, so the slot of a key is the slot of its user
//     key, and siblings (same user key, another suffix) share it;
//   - the empty user key is written {%}, because Redis ignores an empty hash tag.
//
// Different inputs give different keys, and Split gives the inputs back.
package keys

import (
	"fmt"
	"strings"
)

// maxPart bounds namespace, pattern and name: they are on every key and every message.
const maxPart = 128

// emptyTag stands for the empty user key. No other user key encodes to it: a % of user input
// is always followed by two hex digits.
const emptyTag = "%"

// Space is the set of keys of one named thing: one cache, one limiter, one bus. The zero Space is
// not usable; New makes one. A Space is a small value, safe for concurrent use.
type Space struct {
	prefix string // up to and with the colon before the brace
	open   string // prefix + "{"
}

// New returns the Space of a namespace, a pattern ("cache") and a name. An empty name is allowed,
// for patterns of which a client has one: the key then has no name part. It is an error when
// namespace or pattern is empty or any part is longer than 128 bytes.
func New(namespace, pattern, name string) (Space, error) {
	for _, part := range []struct{ what, value string }{
		{"namespace", namespace}, {"pattern", pattern}, {"name", name},
	} {
		if part.value == "" && part.what != "name" {
			return Space{}, fmt.Errorf("keys: the %s is empty", part.what)
		}
		if len(part.value) > maxPart {
			return Space{}, fmt.Errorf("keys: the %s is %d bytes long: at most %d", part.what, len(part.value), maxPart)
		}
	}
	prefix := encode(namespace, escapedInPart) + ":" + encode(pattern, escapedInPart) + ":"
	if name != "" {
		prefix += encode(name, escapedInPart) + ":"
	}
	return Space{prefix: prefix, open: prefix + "{"}, nil
}

// Prefix returns what stands before the first brace of every key of this Space and of no key of
// another one: "<namespace>:<pattern>:<name>:". To find the Space of a key that the server sent,
// cut the key at its first '{' and look that string up; the result is exact, not a longest match.
func (s Space) Prefix() string { return s.prefix }

// Key returns the key for what the user called it. It allocates the result and nothing else.
func (s Space) Key(user string) string {
	if user == "" {
		return s.open + emptyTag + "}"
	}
	n := escapes(user, escapedInKey)
	if n == 0 {
		return s.open + user + "}"
	}
	var b strings.Builder
	b.Grow(len(s.open) + len(user) + 2*n + 1)
	b.WriteString(s.open)
	appendEscaped(&b, user, escapedInKey)
	b.WriteByte('}')
	return b.String()
}

// Sibling returns a key in the slot of Key(user), for what must be changed together with it. The
// suffix is escaped like a user key, colons stay.
func (s Space) Sibling(user, suffix string) string {
	tag := user
	nu := escapes(user, escapedInKey)
	if user == "" {
		tag = emptyTag
	}
	ns := escapes(suffix, escapedInKey)
	if nu+ns == 0 {
		return s.open + tag + "}:" + suffix
	}
	var b strings.Builder
	b.Grow(len(s.open) + len(tag) + 2*nu + len("}:") + len(suffix) + 2*ns)
	b.WriteString(s.open)
	if user == "" {
		b.WriteString(emptyTag)
	} else {
		appendEscaped(&b, user, escapedInKey)
	}
	b.WriteString("}:")
	appendEscaped(&b, suffix, escapedInKey)
	return b.String()
}

// Match returns a SCAN or PSUBSCRIBE pattern for the keys of this Space whose user key begins with
// userPrefix, siblings included (Decode tells them apart). The only * in it is the last byte, and
// there is no ?, [ or \ at all: user input stays data.
func (s Space) Match(userPrefix string) string {
	n := escapes(userPrefix, escapedInKey)
	if n == 0 {
		return s.open + userPrefix + "*"
	}
	var b strings.Builder
	b.Grow(len(s.open) + len(userPrefix) + 2*n + 1)
	b.WriteString(s.open)
	appendEscaped(&b, userPrefix, escapedInKey)
	b.WriteByte('*')
	return b.String()
}

// Decode returns the user key of a key that Key made. It refuses a key of another Space, a sibling,
// and everything that Key can't have made.
func (s Space) Decode(key string) (user string, ok bool) {
	user, suffix, ok := s.split(key)
	return user, ok && suffix == ""
}

// Split is Decode for keys and siblings: sibling says which, and suffix is then Sibling's.
func (s Space) Split(key string) (user, suffix string, sibling, ok bool) {
	user, rest, ok := s.split(key)
	if !ok || rest == "" {
		return user, "", false, ok
	}
	suffix, ok = decode(rest[1:], escapedInKey)
	if !ok {
		return "", "", false, false
	}
	return user, suffix, true, true
}

// split returns the decoded hash tag and what follows the closing brace: nothing or ":…".
func (s Space) split(key string) (user, rest string, ok bool) {
	tag, ok := strings.CutPrefix(key, s.open)
	if !ok || s.open == "" {
		return "", "", false
	}
	tag, rest, ok = strings.Cut(tag, "}")
	if !ok || tag == "" || (rest != "" && rest[0] != ':') {
		return "", "", false
	}
	if tag == emptyTag {
		return "", rest, true
	}
	if user, ok = decode(tag, escapedInKey); !ok {
		return "", "", false
	}
	return user, rest, true
}
