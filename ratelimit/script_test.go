package ratelimit_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/ratelimit"
)

var all = []ratelimit.Algorithm{ratelimit.GCRA, ratelimit.SlidingLog, ratelimit.SlidingWindow, ratelimit.FixedWindow}

// Each script beside its model, in virtual time: random rules, costs, gaps, refunds, looks, and a clock that steps
// back and forth. Every Result must be the same in every field, and (R3) what was refused must be admitted at RetryAfter
// and not one microsecond before.
func TestR3_ScriptsEqualTheirModels(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		if e.Name != "standalone" && e.Name != "embedded" && e.Name != "valkey" {
			return // the same server, spoken to in another way
		}
		client := open(t, e.URL, e.Namespace)
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		rng := rand.New(rand.NewPCG(seed, 0))
		for round := range rounds(12) {
			for _, a := range all {
				sideBySide(t, client.Core(), fmt.Sprintf("%s:{%d-%d}", e.Namespace, round, a), a, rng)
				if t.Failed() {
					return
				}
			}
		}
	})
}

func TestR3_RetryAfterToTheMicrosecondOnTheModel(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(rand.Uint64(), 1))
	refusals := 0
	for range rounds(80) {
		a := all[rng.IntN(len(all))]
		rules := randomRules(rng, a)
		v := ratelimit.NewVirtualTime(a, rules...)
		m := newPlanModel(a, v.Names(), rules)
		now := int64(1_800_000_000_000_000)
		for range 50 {
			now += rng.Int64N(rules[0].Window.Microseconds())/8 + 1
			n := 1 + rng.Int64N(least(rules))
			if m.call(now, n).Allowed {
				continue
			}
			refusals++
			at := now + m.call(now, n).RetryAfter.Microseconds()
			if m.call(at-1, n).Allowed {
				t.Fatalf("%v %v: admitted 1 µs before RetryAfter", a, rules)
			}
			if !m.call(at, n).Allowed {
				t.Fatalf("%v %v: refused at RetryAfter", a, rules)
			}
			now = at
		}
	}
	if refusals == 0 {
		t.Error("nothing was ever refused")
	}
}

// rounds is n, or many more in a soak.
func rounds(n int) int {
	if os.Getenv("REDSTART_SOAK") == "1" {
		return 100 * n
	}
	return n
}

func sideBySide(t *testing.T, c *core.Core, key string, a ratelimit.Algorithm, rng *rand.Rand) {
	rules := randomRules(rng, a)
	v := ratelimit.NewVirtualTime(a, rules...)
	m := newPlanModel(a, v.Names(), rules)
	window := rules[0].Window.Microseconds()
	now := int64(1_800_000_000_000_000) + rng.Int64N(window)
	var history []string
	call := func(n int64) ratelimit.Result {
		t.Helper()
		history = append(history, fmt.Sprintf("%d at %d", n, now))
		got, err := v.Run(t.Context(), c, key, now, n)
		if err != nil {
			t.Fatalf("%v %+v\n%v\n%v", a, rules, history, err)
		}
		if want := m.call(now, n); got != want {
			t.Fatalf("%v %+v\n%v\nscript %+v\nmodel  %+v", a, rules, history, got, want)
		}
		return got
	}
	for range 60 {
		switch p := rng.IntN(100); {
		case p < 30: // at once
		case p < 75:
			now += rng.Int64N(window/4 + 1)
		case p < 85:
			now += rng.Int64N(3 * window)
		case p < 90: // a small step back
			now -= rng.Int64N(window/8 + 1)
		case p < 95: // a large one
			now -= rng.Int64N(8 * window)
		default:
			now += rng.Int64N(20 * window)
		}
		n := 1 + rng.Int64N(least(rules))
		if rng.IntN(2) == 0 {
			n = 1
		}
		switch rng.IntN(10) {
		case 0:
			call(0)
		case 1:
			call(-n)
		default:
			if r := call(n); !r.Allowed && rng.IntN(3) == 0 {
				now += r.RetryAfter.Microseconds() - 1
				if call(n).Allowed {
					t.Fatalf("%v %+v\n%v\nadmitted 1 µs before RetryAfter", a, rules, history)
				}
				now++
				if !call(n).Allowed {
					t.Fatalf("%v %+v\n%v\nrefused at RetryAfter", a, rules, history)
				}
			}
		}
	}
}

func randomRules(rng *rand.Rand, a ratelimit.Algorithm) []ratelimit.Rule {
	windows := []time.Duration{time.Millisecond, 7 * time.Millisecond, time.Second, 1234567 * time.Microsecond, time.Minute, time.Hour, 24 * time.Hour}
	rules := make([]ratelimit.Rule, 1+rng.IntN(3))
	for i := range rules {
		rules[i] = ratelimit.Rule{Name: fmt.Sprint("rule ", i), Limit: 1 + rng.Int64N(20), Window: windows[rng.IntN(len(windows))]}
		if a == ratelimit.GCRA && rng.IntN(2) == 0 {
			rules[i].Burst = 1 + rng.Int64N(20)
		}
	}
	return rules
}

// least is the highest cost that all rules can admit.
func least(rules []ratelimit.Rule) int64 {
	n := int64(1 << 40)
	for _, r := range rules {
		if r.Burst > 0 {
			n = min(n, r.Burst)
		} else {
			n = min(n, r.Limit)
		}
	}
	return n
}
