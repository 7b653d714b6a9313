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
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/ratelimit"
)

var all = []ratelimit.Algorithm{ratelimit.GCRA, ratelimit.SlidingLog, ratelimit.SlidingWindow, ratelimit.FixedWindow}

// Each script runs next to its model in virtual time: random rules, costs, pauses, refunds, peeks,
// and a clock that steps back and forth. Every field of every Result must be equal. A refused
// request must be admitted at RetryAfter and not one microsecond earlier (R3).
func TestR3_ScriptsEqualTheirModels(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		if e.Name != "standalone" && e.Name != "embedded" && e.Name != "valkey" {
			return // the same server, with another protocol
		}
		client := open(t, e.URL, e.Namespace)
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		rng := rand.New(rand.NewPCG(seed, 0))
		for round := range rounds(12) {
			for _, a := range all {
				sideBySide(t, clientcore.Of(client), fmt.Sprintf("%s:{%d-%d}", e.Namespace, round, a), a, rng)
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
		sideBySide(t, clientcore.Of(client), key, one, rand.New(rand.NewPCG(seed, 0)))
		together(t, clientcore.Of(client), key, rand.New(rand.NewPCG(seed, 1)))
	})
}

// Grouped calls are answered as if they had come one after the other; the second call of a key
// comes after its first.
func TestR2_GroupedCallsEqualSequentialCalls(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		if e.Name != "standalone" && e.Name != "embedded" && e.Name != "valkey" {
			return // there, calls are not grouped
		}
		client := open(t, e.URL, e.Namespace)
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		rng := rand.New(rand.NewPCG(seed, 2))
		for round := range rounds(20) {
			together(t, clientcore.Of(client), fmt.Sprintf("%s:together:%d", e.Namespace, round), rng)
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

// Plans over one key: a rule of two plans is one rule, and rules of other plans are not changed, in
// any order and layout.
func TestR2_PlansOverOneKey(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		if e.Name != "standalone" && e.Name != "embedded" && e.Name != "valkey" {
			return // the same server, with another protocol
		}
		client := open(t, e.URL, e.Namespace)
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		rng := rand.New(rand.NewPCG(seed, 4))
		for round := range rounds(12) {
			key := fmt.Sprintf("%s:plans:%d", e.Namespace, round)
			var pool []ratelimit.Rule
			var models []model
			for len(pool) < 5 {
				for _, r := range randomRules(rng, ratelimit.GCRA) {
					r.Name = fmt.Sprint("rule ", len(pool))
					pool, models = append(pool, r), append(models, newModel(ratelimit.GCRA, r))
				}
			}
			var scripts []ratelimit.VirtualTime
			var plans []*planModel
			var costs []int64
			for range 4 {
				var rules []ratelimit.Rule
				plan := &planModel{}
				for _, i := range rng.Perm(len(pool))[:1+rng.IntN(3)] {
					rules = append(rules, pool[i])
					plan.rules, plan.limit = append(plan.rules, models[i]), append(plan.limit, pool[i].Limit)
				}
				v := ratelimit.NewVirtualTime(ratelimit.GCRA, rules...)
				plan.names = v.Names()
				scripts, plans, costs = append(scripts, v), append(plans, plan), append(costs, least(rules))
			}
			now := int64(1_800_000_000_000_000)
			for step := range 150 {
				now += rng.Int64N(pool[rng.IntN(len(pool))].Window.Microseconds() / 4)
				i := rng.IntN(len(plans))
				n := 1 + rng.Int64N(costs[i])
				if rng.IntN(8) == 0 {
					n = -n
				}
				got, err := scripts[i].Run(t.Context(), clientcore.Of(client), key, now, n)
				if want := plans[i].call(now, n); err != nil || got != want {
					t.Fatalf("%+v\nstep %d, plan %v, %d at %d\nscript %+v, %v\nmodel  %+v", pool, step,
						plans[i].names, n, now, got, err, want)
				}
			}
		}
	})
}

// A key expires at the end of the second of its last TAT, of any plan, also after a write in place.
// Rules without tokens outstanding leave no slot.
func TestR1_AKeyExpiresAfterItsLastTAT(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	client := open(t, server.URL(), "app")
	const key = "app:limit:api:{k}"
	short := limiter(t, client, ratelimit.Options{Rules: []ratelimit.Rule{{Limit: 2000,
		Window: 20 * time.Second}}, Outage: ratelimit.FailClosed})
	long, err := short.With(ratelimit.Rule{Limit: 2000, Window: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	both, err := short.With(ratelimit.Rule{Limit: 2000, Window: 20 * time.Second}, ratelimit.Rule{Limit: 2000, Window: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	now := func() (us int64) {
		var s int64
		if _, err := fmt.Sscan(server.CLI("TIME"), &s, &us); err != nil {
			t.Fatal(err)
		}
		return s*1_000_000 + us
	}
	check := func(what string, l *ratelimit.Limiter, n int64, asks ...*ratelimit.Limiter) {
		t.Helper()
		if n > 0 {
			allow(t, l, "k", n)
		} else if err := l.Refund(t.Context(), "k", -n); err != nil {
			t.Fatal(err)
		}
		began, most := now(), time.Duration(0)
		for _, l := range asks {
			r, err := l.Peek(t.Context(), "k")
			if err != nil {
				t.Fatal(err)
			}
			most = max(most, r.ResetAfter)
		}
		first, last := (began+most.Microseconds())/1_000_000+1, (now()+most.Microseconds())/1_000_000+1
		var at int64
		if _, err := fmt.Sscan(server.CLI("EXPIRETIME", key), &at); err != nil || at < first || at > last {
			t.Errorf("%s: the key expires at %d, its last TAT is between %d and %d", what, at, first, last)
		}
	}
	for range 20 {
		check("short", short, 90, short) // 0.9 s each
	}
	check("short, given back", short, -1000, short)
	check("long", long, 1, short, long)
	check("short over long", short, 1, short, long)
	for range 20 {
		check("both", both, 7, short, long)
	}
	check("both, given back", both, -100, short, long)
	check("long, given back", long, -2000, short)
	check("both", both, 1, short, long)
	if err := both.Refund(t.Context(), "k", 2000); err != nil {
		t.Fatal(err)
	}
	if n := server.CLI("EXISTS", key); n != "0" {
		t.Error("a key without tokens outstanding exists")
	}
	brief, err := short.With(ratelimit.Rule{Limit: 1000, Window: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	allow(t, brief, "k", 1)
	rig.Eventually(t, 10*time.Second, "a TAT of a microsecond to pass", func() bool {
		r, err := brief.Peek(t.Context(), "k")
		return err == nil && r.ResetAfter == 0
	})
	check("the short TAT passed", long, 1, long)
	if n := server.CLI("STRLEN", key); n != "19" {
		t.Errorf("a state of one rule is %s bytes", n)
	}
}

// A key of another type is an error of its own caller, and of no other caller in the group. The key
// is not changed.
func TestA1_AForeignKeyFailsOnlyItsCaller(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	client := open(t, server.URL(), "app")
	l := limiter(t, client, ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(1_000_000)},
		Outage: ratelimit.FailClosed})
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
	refused := 0
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
			refused++
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
	if refused == 0 {
		t.Error("nothing was ever refused")
	}
}

// rounds returns n, or many more in a long run.
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
		want := m.call(now, n)
		if a == ratelimit.SlidingLog && !got.Allowed && n > 1 && got.NextAfter == 0 {
			want.NextAfter = 0 // not known: the script looks for the requested cost
		}
		if got != want {
			t.Fatalf("%v %+v\n%v\nscript %+v\nmodel  %+v", a, rules, history, got, want)
		}
		return got
	}
	for range 60 {
		switch p := rng.IntN(100); {
		case p < 30: // immediately
		case p < 75:
			now += rng.Int64N(window/4 + 1)
		case p < 85:
			now += rng.Int64N(3 * window)
		case p < 90: // a small step back
			now -= rng.Int64N(window/8 + 1)
		case p < 95: // a large step back
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
	windows := []time.Duration{time.Millisecond, 7 * time.Millisecond, time.Second,
		1234567 * time.Microsecond, time.Minute, time.Hour, 24 * time.Hour}
	rules := make([]ratelimit.Rule, 1+rng.IntN(3))
	for i := range rules {
		rules[i] = ratelimit.Rule{Name: fmt.Sprint("rule ", i), Limit: 1 + rng.Int64N(20),
			Window: windows[rng.IntN(len(windows))]}
		if a == ratelimit.GCRA && rng.IntN(2) == 0 {
			rules[i].Burst = 1 + rng.Int64N(20)
		}
	}
	return rules
}

// least returns the highest cost that all rules can admit.
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
