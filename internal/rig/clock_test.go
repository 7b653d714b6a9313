package rig_test

import (
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
)

// A step ends an expiry on the server, and the offset survives a restart. The server without a
// clock of its own is the control.
func TestAServerWithItsOwnClockSteps(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	own, control := rig.Standalone(t, rig.OwnClock, "--appendonly", "yes", "--appendfsync", "always"), rig.Standalone(t)
	for _, s := range []*rig.Server{own, control} {
		s.CLI("SET", "k", "v", "EX", "60")
	}

	own.Step(90 * time.Second)
	if got := own.CLI("EXISTS", "k"); got != "0" {
		t.Errorf("EXISTS after a step beyond the expiry: %s, want 0", got)
	}
	if got := control.CLI("EXISTS", "k"); got != "1" {
		t.Errorf("EXISTS on the control: %s, want 1", got)
	}

	own.CLI("SET", "k", "v", "EX", "60")
	own.Kill()
	own.Restart()
	if got := own.CLI("EXISTS", "k"); got != "1" {
		t.Errorf("EXISTS after a restart with the same offset: %s, want 1", got)
	}
	own.Step(0)
	if ttl := own.CLI("TTL", "k"); len(ttl) != 3 {
		t.Errorf("TTL after the step back: %s s, want about 150", ttl)
	}
}
