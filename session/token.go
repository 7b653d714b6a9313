package session

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
)

// A token has 60 bytes, as 80 characters of URL-safe base64. It has three parts. Each part fills
// whole base64 characters, so that a part of the text is the text of the part. Every token has
// exactly one encoding:
//
//	tag     15 bytes  the slot: a hash of the user, random for a visitor
//	id      12 bytes  the record: random, public, constant for the life of the session
//	secret  33 bytes  the proof: random, stored as its SHA-256, replaced by Renew
const (
	tagSize, idSize, secretSize = 15, 12, 33

	tagLen    = tagSize / 3 * 4
	idLen     = idSize / 3 * 4
	secretLen = secretSize / 3 * 4
	tokenLen  = tagLen + idLen + secretLen
)

// address is the address of a record: the public part of a token.
type address struct{ tag, id string }

// parseToken splits a token. It accepts exactly the tokens that join can return.
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
	rand.Read(b[:size]) // never returns an error; it ends the program if the system has no randomness
	return base64.RawURLEncoding.EncodeToString(b[:size])
}

func newVersion() string {
	var b [versionLen]byte
	rand.Read(b[:])
	return string(b[:])
}

func join(at address, secret string) string { return at.tag + at.id + secret }

func hashOf(secret string) [sha256.Size]byte { return sha256.Sum256([]byte(secret)) }

// tagOf returns the tag of a user. The tag is one-way and the same in every process. It is long
// enough that two users never share it.
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
