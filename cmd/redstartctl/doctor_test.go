package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/inspect"
	"github.com/redstart-go/redstart/internal/rig"
)

func TestTranscriptDoctor(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	s, namespace := rig.Shared(t), rig.Prefix(t)
	transcript(t, "doctor.txt", serverEnv(s.URL(), namespace), map[string]func(){"a server without an append-only file": func() {}})
}

// Doctor exits with 0 if it has no findings. A note is no finding.
func TestDoctorWithoutFindings(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	s := rig.Standalone(t, "--appendonly", "yes")
	if r := execute(t, serverEnv(s.URL(), "app"), "doctor"); r.code != exitFine || r.stdout != "no findings\n" {
		t.Errorf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	r := execute(t, serverEnv(s.URL(), "app"), "doctor", "--json")
	if r.code != exitFine || strings.TrimSpace(r.stdout) != "[]" {
		t.Errorf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}

	tool := rig.ACLServer(t, "redstart-inspect.acl")
	tool.CLI("CONFIG", "SET", "appendonly", "yes")
	r = execute(t, serverEnv(tool.URL(), "app"), "doctor", "--json")
	var findings []inspect.Finding
	if err := json.Unmarshal([]byte(r.stdout), &findings); err != nil || r.code != exitFine || len(findings) != 1 ||
		findings[0].Severity != inspect.SeverityNote {
		t.Errorf("a note: exit code %d, %v: %s%s", r.code, err, r.stdout, r.stderr)
	}
	r = execute(t, serverEnv(tool.URL(), "app"), "doctor", "--user", "unknown")
	if r.code != exitFindings || !strings.Contains(r.stdout, "has no user") {
		t.Errorf("an unknown user: exit code %d, %s%s", r.code, r.stdout, r.stderr)
	}
}

// The verb server shows each fact of a node, and the warnings.
func TestServerShowsWarnings(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	s := rig.Standalone(t)
	s.CLI("CONFIG", "SET", "maxmemory", "100mb", "maxmemory-policy", "allkeys-lru")
	r := execute(t, serverEnv(s.URL(), "app"), "server")
	for _, want := range []string{"standalone", "tracking", s.Addr(), "of 104857600", "allkeys-lru", "off", "closed",
		"warning: eviction: "} {
		if r.code != exitFine || !strings.Contains(r.stdout, want) {
			t.Errorf("exit code %d, %q is missing: %s%s", r.code, want, r.stdout, r.stderr)
		}
	}
}
