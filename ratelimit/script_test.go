package ratelimit_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
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

func FuzzR3_ScriptsEqualTheirModels(f *testing.F) {
	client := open(f, rig.Shared(f).URL(), "app")
	prefix := rig.Prefix(f)
	for seed := range uint64(4) {
		f.Add(seed, uint8(seed))
	}
	f.Fuzz(func(t *testing.T, seed uint64, a uint8) {
		one := ratelimit.Algorithm(a) % ratelimit.Algorithm(len(all))
		key := fmt.Sprintf("%s:{%d-%d}", prefix, seed, rand.Uint64())
		sideBySide(t, client.Core(), key, one, rand.New(rand.NewPCG(seed, 0)))
		together(t, client.Core(), key, rand.New(rand.NewPCG(seed, 1)))
	})
}

// Calls that travel together are answered as if they had come one after the other, a key's second call after its first.
func TestR2_TogetherIsOneAfterTheOther(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		if e.Name != "standalone" && e.Name != "embedded" && e.Name != "valkey" {
			return // there nobody travels together
		}
		client := open(t, e.URL, e.Namespace)
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		rng := rand.New(rand.NewPCG(seed, 2))
		for round := range rounds(20) {
			together(t, client.Core(), fmt.Sprintf("%s:together:%d", e.Namespace, round), rng)
		}
	})
}

func together(t *testing.T, c *core.Core, prefix string, rng *rand.Rand) {
	t.Helper()
	rules := randomRules(rng, ratelimit.GCRA)
	v := ratelimit.NewVirtualTime(ratelimit.GCRA, rules...)
	var models [4]*planModel
	for i := range models {
		models[i] = newPlanModel(ratelimit.GCRA, v.Names(), rules)
	}
	window := rules[0].Window.Microseconds()
	now := int64(1_800_000_000_000_000) + rng.Int64N(window)
	for range 40 {
		now += rng.Int64N(window/4+1) - rng.Int64N(window/16+1)
		of := make([]int, 2+rng.IntN(7))
		keys := make([]string, len(of))
		for i := range of {
			of[i] = rng.IntN(len(models))
			keys[i] = fmt.Sprintf("%s:%d", prefix, of[i])
		}
		got, err := v.RunTogether(t.Context(), c, keys, now)
		if err != nil || len(got) != len(keys) {
			t.Fatalf("%+v: %v, %v", rules, got, err)
		}
		for i, m := range of {
			if want := models[m].call(now, 1); got[i] != want {
				t.Fatalf("%+v\n%v at %d\nanswer %d %+v\nmodel    %+v", rules, keys, now, i, got[i], want)
			}
		}
	}
}

// A key that holds something else is its own caller's error, and of none who travel with it; it stays as it is.
func TestA1_AForeignKeyDisturbsNobody(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	client := open(t, server.URL(), "app")
	l := limiter(t, client, ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(1_000_000)}, Outage: ratelimit.FailClosed})
	server.CLI("LPUSH", "app:limit:api:{foreign}", "1")
	const callers, calls = 64, 20
	before := server.CommandStats()
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for n := range int64(calls) {
				if i%16 == 0 {
					if r, err := l.Allow(t.Context(), "foreign"); !errors.Is(err, redstart.ErrCorrupt) || r.Allowed {
						t.Errorf("the foreign key: %+v, %v", r, err)
					}
				} else if r, err := l.Allow(t.Context(), fmt.Sprint(i)); err != nil || r.Remaining < 1_000_000-n-1 {
					t.Errorf("%+v, %v", r, err)
				}
			}
		})
	}
	wg.Wait()
	if sent := server.CommandStats()["evalsha"] - before["evalsha"]; sent > callers*calls*3/4 {
		t.Errorf("%d calls were sent as %d", callers*calls, sent)
	}
	if n := server.CLI("LLEN", "app:limit:api:{foreign}"); n != "1" {
		t.Errorf("the list has %s entries", n)
	}
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
