package rig_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
)

func TestSentinelFaults(t *testing.T) {
	t.Parallel()
	s := rig.NewSentinel(t)
	if !strings.HasPrefix(s.URL(), "redis+sentinel://127.0.0.1:") || !strings.HasSuffix(s.URL(), "/mymaster/0") {
		t.Fatalf("URL = %s", s.URL())
	}
	old := s.Primary()
	c := old.Conn(t)
	c.CLI("SET", "k", "v")
	if got := c.CLI("WAIT", "2", "5000"); got != "2" {
		t.Fatalf("WAIT = %s", got)
	}
	next := s.Failover()
	if got := next.CLI("GET", "k"); got != "v" {
		t.Fatalf("after Failover: %q", got)
	}
	// The old primary is made a replica only 8 s later; the other one follows soon.
	rig.Eventually(t, 20*time.Second, "a replica follows the new primary", func() bool {
		return strings.Contains(next.CLI("INFO", "replication"), "state=online")
	})
	next.Kill()
	last := s.NextPrimary(next, 30*time.Second)
	if got := last.CLI("GET", "k"); got != "v" {
		t.Fatalf("after a kill: %q", got)
	}
}

// A server that was promoted and restarts faster than the sentinels notice is still the primary, as
// Sentinel has written it into the configuration.
func TestSentinelRestartKeepsThePrimary(t *testing.T) {
	t.Parallel()
	s := rig.NewSentinel(t)
	promoted := s.Failover()
	promoted.Kill()
	promoted.Restart()
	if role := promoted.Info("role"); role != "master" {
		t.Errorf("the promoted server has the role %s after a restart, want master", role)
	}
}
