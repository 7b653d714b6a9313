// Package script identifies Lua scripts by their digest. A script's text is sent to a server once.
package script

import (
	"crypto/sha1"
	"encoding/hex"
)

// Script is a constant Lua script. All values that vary are in KEYS and ARGV.
type Script struct {
	source   string
	digest   string
	readOnly bool
}

// New returns the script with this text. Patterns embed the text from a .lua file.
func New(source string) *Script {
	// the server identifies scripts by SHA-1; it is not a security measure
	sum := sha1.Sum([]byte(source))
	return &Script{source: source, digest: hex.EncodeToString(sum[:])}
}

// ReadOnly returns a script that does not write, or only corrects what a second run would correct
// again. A call whose reply is lost then fails with ErrUnavailable, not with ErrIndeterminate, and
// may be repeated.
func ReadOnly(source string) *Script {
	s := New(source)
	s.readOnly = true
	return s
}

// Source returns the script's text.
func (s *Script) Source() string { return s.source }

// Digest returns the hexadecimal SHA-1 digest that EVALSHA uses.
func (s *Script) Digest() string { return s.digest }

// IsReadOnly reports whether the script was made by [ReadOnly].
func (s *Script) IsReadOnly() bool { return s.readOnly }
