// Package keys turns the names of users into keys on the server, and back.
//
// Each key has the form
//
//	<namespace>:<pattern>:<name>:{<encoded user key>}[:<suffix>]
//
// The parts are separate for all possible bytes (A5):
//
//   - Printable ASCII stays readable in redis-cli. Characters with a meaning for Redis, a glob, a
//     shell or this format become %XX.
//   - The braces hold only the user key. So the slot of a key is the slot of its user key, and
//     siblings (same user key, another suffix) share it.
//   - The empty user key is written {%}, because Redis ignores an empty hash tag.
//
// Different inputs give different keys, and [Space.Split] returns the inputs.
package keys

import (
	"fmt"
	"strings"
)

// maxPart is the longest namespace, pattern or name, in bytes. These are part of every key and
// every message.
const maxPart = 128

// emptyTag stands for the empty user key. No other user key has this form, because two hexadecimal
// digits follow each % of user input.
const emptyTag = "%"

// Space is the set of keys of one named instance of a pattern: one cache, one limiter, one bus.
// Make it with [New]; the zero value is not usable. A Space is a small value and is safe for
// concurrent use.
type Space struct {
	prefix string // up to the colon before the brace
	open   string // prefix + "{"
}

// New returns the Space of a namespace, a pattern ("cache") and a name. The name may be empty, for
// patterns with one instance per client. Its keys then have no part for the name. New returns an
// error if the namespace or the pattern is empty, or if a part is longer than 128 bytes.
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

// Prefix returns the part before the first brace, "<namespace>:<pattern>:<name>:". All keys of this
// Space begin with it, and no key of another Space has it before its first brace. So cut a key at
// its first '{' to find its Space.
func (s Space) Prefix() string { return s.prefix }

// Key returns the key of a user key. It makes one allocation, for the result.
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

// Sibling returns a key in the slot of Key(user). Use it for data that is changed together with
// this key. The suffix is escaped like a user key; colons stay.
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
// userPrefix, and for their siblings. [Space.Decode] distinguishes them. The pattern has one *, as
// its last byte, and no ?, [ or \, because user input is escaped.
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

// NameOf returns the name of the Space that a key belongs to, among the Spaces with the namespace
// and the pattern of s. s has no name. A key of a Space without a name has the name "". It refuses
// keys of other patterns and all strings that are no key.
func (s Space) NameOf(key string) (name string, ok bool) {
	rest, ok := strings.CutPrefix(key, s.prefix)
	if !ok || s.prefix == "" {
		return "", false
	}
	part, _, ok := strings.Cut(rest, "{")
	if !ok || part == "" {
		return "", ok
	}
	if part, ok = strings.CutSuffix(part, ":"); !ok || part == "" {
		return "", false
	}
	return decode(part, escapedInPart)
}

// Decode returns the user key of a key that [Space.Key] returned. It refuses keys of other Spaces,
// siblings, and all other strings.
func (s Space) Decode(key string) (user string, ok bool) {
	user, suffix, ok := s.split(key)
	return user, ok && suffix == ""
}

// Split is [Space.Decode] for keys and siblings. sibling reports whether the key has a suffix.
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

// split returns the decoded user key and the text after the closing brace, which is empty or begins
// with a colon.
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
