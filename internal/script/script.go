// Package script names Lua scripts by their digest, so that they travel once.
package script

import (
	"crypto/sha1"
	"encoding/hex"
)

// Script is a constant Lua script. Its text takes everything that varies through KEYS and ARGV.
type Script struct {
	source   string
	digest   string
	readOnly bool
}

// New returns the script with this text, which is usually embedded from a .lua file.
func New(source string) *Script {
	sum := sha1.Sum([]byte(source)) // the server's own name for it, not a security measure
	return &Script{source: source, digest: hex.EncodeToString(sum[:])}
}

// ReadOnly returns a script that writes nothing: a lost answer is then
// ErrUnavailable, not ErrIndeterminate, and the call may be repeated.
func ReadOnly(source string) *Script {
	s := New(source)
	s.readOnly = true
	return s
}

// Source is the script's text.
func (s *Script) Source() string { return s.source }

// Digest is the hexadecimal SHA-1 by which EVALSHA knows the script.
func (s *Script) Digest() string { return s.digest }

// IsReadOnly reports whether the script promised to write nothing.
func (s *Script) IsReadOnly() bool { return s.readOnly }
