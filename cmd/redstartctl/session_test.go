package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/session"
)

type account struct{ Theme string }

var plainID = regexp.MustCompile(`^[A-Za-z0-9]{16}$`)

func TestTranscriptSessions(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	s, namespace := rig.Shared(t), rig.Prefix(t)
	m, err := session.New[account](open(t, s.URL(), namespace), "web", session.Options{})
	must(t, err)
	first := ""
	transcript(t, "sessions.txt", serverEnv(s.URL(), namespace), map[string]func(){
		"ada logs in from a browser and a phone": func() {
			for _, device := range []string{"Mozilla/5.0", "App \x1b[31m1.2"} {
				for first = ""; !plainID.MatchString(first); { // so that normal recognizes it
					s, err := m.Create(t.Context(), "ada", account{"dark"}, session.Device(device, "192.0.2.7"))
					must(t, err)
					if first = s.ID(); !plainID.MatchString(first) {
						must(t, s.Destroy(t.Context()))
					}
				}
			}
		},
	}, func(arg string) string {
		if plainID.MatchString(arg) {
			return first
		}
		return arg
	})
}

// The keys of a manager come from a file, and no output shows them.
func TestSessionsWithKeys(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	s, namespace := rig.Shared(t), rig.Prefix(t)
	key := []byte(strings.Repeat("k", 32))
	m, err := session.New[account](open(t, s.URL(), namespace), "web",
		session.Options{EncryptionKeys: [][]byte{key}, UserKey: key[:16]})
	must(t, err)
	stored, err := m.Create(t.Context(), "ada", account{"dark"}, session.Device("browser", "192.0.2.7"))
	must(t, err)

	file := filepath.Join(t.TempDir(), "keys.json")
	secret := base64.StdEncoding.EncodeToString(key)
	must(t, os.WriteFile(file, fmt.Appendf(nil, `{"web": {"encryption": [%q], "user": %q}}`, secret,
		base64.StdEncoding.EncodeToString(key[:16])), 0o600))
	env := serverEnv(s.URL(), namespace)
	r := execute(t, env, "session", "show", "web", "ada", stored.ID(), "--keys", file, "--data")
	if r.code != exitFine || !strings.Contains(r.stdout, `{"Theme":"dark"}`) || !strings.Contains(r.stdout, "browser") {
		t.Errorf("code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	if r = execute(t, env, "session", "list", "web", "ada"); strings.Contains(r.stdout, stored.ID()) {
		t.Errorf("a session is listed without the key of its user: %s", r.stdout)
	}
	must(t, os.WriteFile(file, []byte(`{"web": "`+secret), 0o600))
	for _, name := range []string{file, filepath.Join(t.TempDir(), "missing")} {
		r = execute(t, env, "session", "list", "web", "ada", "--keys", name)
		if r.code == exitFine || !strings.Contains(r.stderr, "--keys: ") || strings.Contains(r.stderr, secret) {
			t.Errorf("code %d: %s", r.code, r.stderr)
		}
	}
}
