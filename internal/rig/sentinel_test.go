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
	old.CLI("SET", "k", "v")
	if got := old.CLI("WAIT", "2", "5000"); got != "2" {
		t.Fatalf("WAIT = %s", got)
	}
	next := s.Failover()
	if got := next.CLI("GET", "k"); got != "v" {
		t.Fatalf("after Failover: %q", got)
	}
	rig.Eventually(t, 20*time.Second, "replicas follow the new primary", func() bool {
		return strings.Count(next.CLI("INFO", "replication"), "state=online") == 2
	})
	next.Kill()
	last := s.NextPrimary(next, 30*time.Second)
	if got := last.CLI("GET", "k"); got != "v" {
		t.Fatalf("after a kill: %q", got)
	}
}
