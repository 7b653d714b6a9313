package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/ratelimit"
)

// TestPlansChangeUnderLoad: an operator changes three tariffs while callers of two processes use
// them. A tariff never admits more than the greatest limit that it had, and never refuses a key
// below the least. After the last change, every process uses the last rules.
func TestPlansChangeUnderLoad(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	server := rig.Shared(t)
	namespace := rig.Prefix(t)
	opts := ratelimit.Options{Rules: []ratelimit.Rule{{Name: "base", Limit: 5, Window: year}}, Outage: ratelimit.FailClosed}
	operator := newPlans(t, limiter(t, open(t, server.URL(), namespace), opts), ratelimit.PlansOptions{})
	const least, span, callers = 20, 30, 16
	rule := func(limit int64) ratelimit.Rule { return ratelimit.Rule{Name: "r", Limit: limit, Window: year} }
	for tariff := range 3 {
		setPlan(t, operator, fmt.Sprint("tariff ", tariff), rule(least))
	}

	var processes []*ratelimit.Plans
	// one process has room for 8 names, so it reads evicted names all the time
	for _, names := range []int{8, 0} {
		processes = append(processes, newPlans(t, limiter(t, open(t, server.URL(), namespace), opts),
			ratelimit.PlansOptions{Refresh: 20 * time.Millisecond, MaxNames: names}))
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var keys atomic.Int64
	var wg sync.WaitGroup
	for caller := range callers {
		p := processes[caller%len(processes)]
		wg.Go(func() {
			for ctx.Err() == nil {
				key, tariff := fmt.Sprint("user ", keys.Add(1)), fmt.Sprint("tariff ", rand.N(3))
				for n := int64(1); ; n++ {
					r, err := p.For(t.Context(), key, tariff).Allow(t.Context(), key)
					if err != nil || r.Degraded || r.Rule != "r" || r.Limit < least || r.Limit > least+span {
						t.Errorf("%s: %+v, %v", tariff, r, err)
						return
					}
					if !r.Allowed && n <= r.Limit && n <= least {
						t.Errorf("%s: refused at %d of %d", tariff, n, r.Limit)
						return
					}
					if !r.Allowed || n > 2*(least+span) {
						break
					}
				}
			}
		})
	}
	last := map[string]int64{}
	changes := 0
	for ; changes < 300 || keys.Load() < 1000 && ctx.Err() == nil; changes++ {
		tariff, limit := fmt.Sprint("tariff ", changes%3), least+rand.Int64N(span+1)
		setPlan(t, operator, tariff, rule(limit))
		last[tariff] = limit
	}
	stop()
	wg.Wait()
	for tariff, want := range last {
		for _, p := range processes {
			rig.Eventually(t, 10*time.Second, "the last rules", func() bool { return limitOf(t, p, tariff) == want })
		}
	}
	t.Logf("%d keys while %d changes were made", keys.Load(), changes)
}

// TestManyKeysThroughFaults: callers use 100,000 keys on a server that becomes full, stops, and is
// killed and restarted. Each answer comes from Redis or has the form of the policy. After the
// faults every key is counted again.
func TestManyKeysThroughFaults(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	server := rig.Standalone(t)
	client := open(t, server.URL(), "app", func(c *redstart.Config) { c.CommandTimeout = 500 * time.Millisecond })
	rules := []ratelimit.Rule{{Name: "r", Limit: 2, Window: year}}
	limiters := map[ratelimit.Outage]*ratelimit.Limiter{}
	for _, o := range []ratelimit.Outage{ratelimit.FailOpen, ratelimit.FailClosed, ratelimit.FailLocal} {
		opts := ratelimit.Options{Rules: rules, Outage: o}
		if o == ratelimit.FailLocal {
			opts.LocalShare = 0.5
		}
		l, err := ratelimit.New(client, o.String(), opts)
		if err != nil {
			t.Fatal(err)
		}
		limiters[o] = l
	}
	keys, callers := rig.Soak(20_000, 100_000), 64
	round := func() (degraded, failed int64) {
		var bad, no atomic.Int64
		var wg sync.WaitGroup
		for caller := range callers {
			wg.Go(func() {
				for i := caller; i < keys; i += callers {
					for o, l := range limiters {
						r, err := l.Allow(context.Background(), fmt.Sprint("key ", i))
						switch {
						case err != nil && o == ratelimit.FailClosed && !r.Allowed && classed(err):
							no.Add(1)
						case err != nil:
							t.Errorf("%v: %+v, %v", o, r, err)
							return
						case r.Degraded:
							bad.Add(1)
						}
						if r.Degraded && o == ratelimit.FailOpen && !r.Allowed {
							t.Errorf("%v: %+v", o, r)
							return
						}
					}
				}
			})
		}
		wg.Wait()
		return bad.Load(), no.Load()
	}
	if degraded, failed := round(); degraded+failed != 0 {
		t.Logf("a healthy server: %d degraded, %d failed: a busy machine", degraded, failed)
	}
	for what, fault := range map[string]struct{ begin, end func() }{
		"full":    {func() { full(server) }, func() { server.CLI("CONFIG", "SET", "maxmemory", "0") }},
		"stopped": {server.Stop, server.Continue},
		"killed":  {server.Kill, server.Restart},
	} {
		fault.begin()
		degraded, failed := round()
		fault.end()
		// on a full server, denied keys are still denied from memory
		if degraded+failed == 0 && what != "full" {
			t.Errorf("%s: no answer was degraded", what)
		}
		t.Logf("%s: %d degraded, %d failed", what, degraded, failed)
		rig.Eventually(t, 20*time.Second, "the server answers", func() bool { return client.Ping(t.Context()) == nil })
	}
	rig.Eventually(t, 20*time.Second, "all keys are counted",
		func() bool { degraded, failed := round(); return degraded+failed == 0 })
}

// classed reports whether an error has a class that an outage may have.
func classed(err error) bool {
	for _, class := range []error{redstart.ErrUnavailable, redstart.ErrIndeterminate, redstart.ErrFull} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}

// TestManyWaitersThroughFaults: ten thousand callers wait for one key on a server that is full, or
// killed. All calls end: with FailOpen they are admitted, with FailClosed they get the class of the
// failure.
func TestManyWaitersThroughFaults(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	for what, fault := range map[string]func(*rig.Server){"full": full, "killed": (*rig.Server).Kill} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			server := rig.Standalone(t)
			client := open(t, server.URL(), "app", func(c *redstart.Config) { c.CommandTimeout = 2 * time.Second })
			waiters := rig.Soak(2000, 10_000)
			limiters := map[ratelimit.Outage]*ratelimit.Limiter{}
			ended := map[ratelimit.Outage]chan error{}
			for _, o := range []ratelimit.Outage{ratelimit.FailOpen, ratelimit.FailClosed} {
				l, err := ratelimit.New(client, o.String(),
					ratelimit.Options{Rules: []ratelimit.Rule{{Name: "r", Limit: 10, Window: time.Second,
						Burst: 1}}, Outage: o})
				if err != nil {
					t.Fatal(err)
				}
				done := make(chan error, waiters)
				limiters[o], ended[o] = l, done
				for range waiters {
					go func() { done <- l.Wait(t.Context(), "k") }()
				}
			}
			for o, l := range limiters {
				rig.Eventually(t, 30*time.Second, "all wait", func() bool { return l.Waiting("k")+len(ended[o]) >= waiters })
			}
			fault(server)
			for o := range limiters {
				for i := range waiters {
					var err error
					select {
					case err = <-ended[o]:
					case <-time.After(30 * time.Second):
						t.Fatalf("%v: %d of %d waiters have ended", o, i, waiters)
					}
					if o == ratelimit.FailOpen && err != nil || err != nil && !classed(err) {
						t.Fatalf("%v: %v", o, err)
					}
				}
			}
		})
	}
}
