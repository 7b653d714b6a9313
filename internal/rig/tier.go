package rig

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
)

// Tier says how much a run of the tests covers. The environment variable REDSTART_TESTS selects it.
// Each tier includes the tier before it.
type Tier int

const (
	TierQuick  Tier = iota // "quick", the default: no server. Units, models, the embedded engine, virtual time
	TierServer             // "server", make test: also a real Redis, standalone and cluster
	TierAll                // "all", make test-all: also faults, failovers, Sentinel, TLS, ACL users, long runs
)

const tierVariable = "REDSTART_TESTS"

// command has the command that runs each tier.
var command = map[Tier]string{TierQuick: "go test ./...", TierServer: "make test", TierAll: "make test-all"}

// tierOf parses the value of REDSTART_TESTS.
func tierOf(value string) (Tier, error) {
	switch value {
	case "", "quick":
		return TierQuick, nil
	case "server":
		return TierServer, nil
	case "all":
		return TierAll, nil
	}
	return 0, fmt.Errorf("rig: %s=%q: want quick, server or all", tierVariable, value)
}

// left counts the tests of this process that need a higher tier.
var left [TierAll + 1]atomic.Int64

// Need skips a test that needs a higher tier than this run. [Main] reports the number of such tests
// and the command that runs them.
func Need(t testing.TB, tier Tier) {
	t.Helper()
	current, err := tierOf(os.Getenv(tierVariable))
	if err != nil {
		t.Fatal(err)
	}
	if current >= tier {
		return
	}

	left[tier].Add(1)
	t.Skipf("rig: this test belongs to another tier: %s runs it", command[tier])
}

// Includes reports whether this run covers a tier.
func Includes(tier Tier) bool {
	current, err := tierOf(os.Getenv(tierVariable))
	return err == nil && current >= tier
}

// check returns an error, before the first test, if the package can't run its tier.
func check() error {
	current, err := tierOf(os.Getenv(tierVariable))
	if err != nil {
		return err
	}
	if current == TierQuick {
		return nil
	}
	if _, err := exec.LookPath("redis-server"); err != nil {
		return fmt.Errorf("rig: %s needs redis-server, which is not on PATH: install it with: %s", command[current], install)
	}
	return nil
}

// reportLeft writes the number of tests that this run left to a higher tier.
func reportLeft(w io.Writer) {
	for tier := TierServer; tier <= TierAll; tier++ {
		if n := left[tier].Load(); n > 0 {
			fmt.Fprintf(w, "rig: %d tests were left to %s\n", n, command[tier])
		}
	}
}
