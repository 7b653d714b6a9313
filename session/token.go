package session

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
)

// A token is 60 bytes as 80 characters of URL-safe base64, in three parts that each fill whole characters, so
// that a part of the text is the text of the part, and every token has exactly one spelling:
//
//	tag     15 bytes  says where: everything of one user is in the slot of his tag; random for a visitor
//	id      12 bytes  says which: random, public, constant for the life of the session
//	secret  33 bytes  proves it: random, stored as its SHA-256, replaced by Renew
const (
	tagSize, idSize, secretSize = 15, 12, 33

	tagLen    = tagSize / 3 * 4
	idLen     = idSize / 3 * 4
	secretLen = secretSize / 3 * 4
	tokenLen  = tagLen + idLen + secretLen
)

// address is where a record lies: the public part of a token.
type address struct{ tag, id string }

// parseToken takes a token apart. It accepts nothing that newToken can't have made.
func parseToken(text string) (at address, secret string, ok bool) {
	if len(text) != tokenLen {
		return address{}, "", false
	}
	for i := range len(text) {
		if !isBase64[text[i]] {
			return address{}, "", false
		}
	}
	return address{text[:tagLen], text[tagLen : tagLen+idLen]}, text[tagLen+idLen:], true
}

func isID(id string) bool {
	if len(id) != idLen {
		return false
	}
	for i := range len(id) {
		if !isBase64[id[i]] {
			return false
		}
	}
	return true
}

var isBase64 = func() (t [256]bool) {
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
		t[c] = true
	}
	return t
}()

func random(size int) string {
	var b [secretSize]byte
	rand.Read(b[:size]) // never fails: it ends the program instead
	return base64.RawURLEncoding.EncodeToString(b[:size])
}

func newVersion() string {
	var b [versionLen]byte
	rand.Read(b[:])
	return string(b[:])
}

func join(at address, secret string) string { return at.tag + at.id + secret }

func hashOf(secret string) [sha256.Size]byte { return sha256.Sum256([]byte(secret)) }

// tagOf is a user's tag: one-way, the same in every process, and too long for two users to share.
func tagOf(userKey []byte, user string) string {
	const domain = "redstart session user\x00"
	var sum []byte
	if len(userKey) == 0 {
		h := sha256.Sum256([]byte(domain + user))
		sum = h[:]
	} else {
		mac := hmac.New(sha256.New, userKey)
		mac.Write([]byte(domain + user))
		sum = mac.Sum(nil)
	}
	return base64.RawURLEncoding.EncodeToString(sum[:tagSize])
}
