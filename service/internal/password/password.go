// Package password hashes and verifies passwords.
package password

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// The cost of one hash: 19 MiB, two passes, one thread, as the Password Storage Cheat Sheet of
// OWASP recommends for argon2id. A hash contains its cost, so that the cost can be raised while
// older hashes stay valid.
const (
	memory  = 19 * 1024 // KiB
	passes  = 2
	threads = 1
	saltLen = 16
	keyLen  = 32
)

var errMalformed = errors.New("password: malformed hash")

// Hash returns an argon2id hash of the password with a random salt, in the PHC string format.
func Hash(password string) string {
	salt := make([]byte, saltLen)
	rand.Read(salt) // never returns an error; it ends the program if the system has no randomness
	key := argon2.IDKey([]byte(password), salt, passes, memory, threads, keyLen)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, memory, passes, threads,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key))
}

// Matches reports whether the hash belongs to the password. The comparison takes constant time.
func Matches(hash, password string) (bool, error) {
	var version, m, t int
	var p uint8
	fields := strings.Split(hash, "$")
	if len(fields) != 6 || fields[0] != "" || fields[1] != "argon2id" {
		return false, errMalformed
	}
	if _, err := fmt.Sscanf(fields[2], "v=%d", &version); err != nil || version != argon2.Version {
		return false, errMalformed
	}
	if _, err := fmt.Sscanf(fields[3], "m=%d,t=%d,p=%d", &m, &t, &p); err != nil || m < 1 || m > 1<<20 ||
		t < 1 || t > 64 || p < 1 {
		return false, errMalformed
	}
	salt, saltErr := base64.RawStdEncoding.DecodeString(fields[4])
	want, keyErr := base64.RawStdEncoding.DecodeString(fields[5])
	if saltErr != nil || keyErr != nil || len(want) == 0 {
		return false, errMalformed
	}
	got := argon2.IDKey([]byte(password), salt, uint32(t), uint32(m), p, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1, nil
}
