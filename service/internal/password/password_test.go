package password_test

import (
	"strings"
	"testing"

	"github.com/redstart-go/redstart/service/internal/password"
)

func TestMatches(t *testing.T) {
	t.Parallel()
	hash := password.Hash("correct horse")
	for given, want := range map[string]bool{"correct horse": true, "correct hors": false, "Correct horse": false, "": false} {
		got, err := password.Matches(hash, given)
		if err != nil || got != want {
			t.Errorf("Matches(hash, %q) = %v, %v; want %v", given, got, err, want)
		}
	}
}

func TestHashesOfOnePasswordDiffer(t *testing.T) {
	t.Parallel()
	if a, b := password.Hash("same"), password.Hash("same"); a == b {
		t.Errorf("two hashes of one password are equal, so they share a salt: %s", a)
	}
}

func TestHashesWithOtherCostsStayValid(t *testing.T) {
	t.Parallel()
	// The output of the reference implementation: echo -n password | argon2 somesalt -id -t 1 -k 64
	// -p 1 -l 24
	hash := "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$ZVrRXqxlLcWfcXCnMyv0m4Rpvh/bnCi7"
	if ok, err := password.Matches(hash, "password"); err != nil || !ok {
		t.Errorf("Matches = %v, %v; want a match", ok, err)
	}
}

func TestMalformedHashesAreErrors(t *testing.T) {
	t.Parallel()
	good := password.Hash("x")
	for _, hash := range []string{
		"", "x", "$2a$10$abcdefghijklmnopqrstuv",
		strings.Replace(good, "argon2id", "argon2i", 1),
		strings.Replace(good, "v=19", "v=16", 1),
		strings.Replace(good, "m=19456", "m=99999999", 1),
		strings.Replace(good, "t=2", "t=0", 1),
		strings.Replace(good, "p=1", "p=0", 1),
		good[:strings.LastIndex(good, "$")+1],
		good + "!",
	} {
		if ok, err := password.Matches(hash, "x"); ok || err == nil {
			t.Errorf("Matches(%q) = %v, %v; want an error", hash, ok, err)
		}
	}
}
