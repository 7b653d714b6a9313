package ratelimit_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/ratelimit"
)

func leased(t *testing.T, client *redstart.Client, a ratelimit.Algorithm, batch int64, rule ratelimit.Rule) *ratelimit.Limiter {
	t.Helper()
	l, err := ratelimit.New(client, "leased "+a.String(), ratelimit.Options{
		Algorithm: a, Rules: []ratelimit.Rule{rule}, Lease: ratelimit.Lease{Batch: batch}, Outage: ratelimit.FailClosed,
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// The bound of a lease's over-admission is reached: several processes charge tokens in one window
// and use them in the next. Without leasing, the same calls would admit Limit.
func TestR1_LeaseBound(t *testing.T) {
	t.Parallel()
	const clients, batch, limit = 4, 20, 100
	rule := ratelimit.Rule{Name: "r", Limit: limit, Window: time.Second}
	server := rig.Shared(t)
	namespace := rig.Prefix(t)
	var all []*ratelimit.Limiter
	for range clients {
		all = append(all, leased(t, open(t, server.URL(), namespace), ratelimit.FixedWindow, batch, rule))
	}
	allow(t, all[0], "k", 1)
	peek := func() ratelimit.Result {
		r, err := all[0].Peek(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	// On a busy machine, the leases may be returned before the window ends. Then this window shows
	// nothing, and the test tries the next one.
	for range 10 {
		n := admittedAcrossWindows(t, all, peek, limit)
		if n > limit+clients*batch {
			t.Fatalf("%d admitted in a window; want at most %d·%d above %d", n, clients, batch, limit)
		}
		if n > limit {
			t.Logf("%d admitted of a limit of %d, with %d processes holding up to %d", n, limit, clients, batch)
			return
		}
	}
	t.Errorf("never more than %d admitted in a window: the bound was not reached", limit)
}

// admittedAcrossWindows has each limiter take a lease shortly before a window ends. It returns how
// many calls the next window admits.
func admittedAcrossWindows(t *testing.T, all []*ratelimit.Limiter, peek func() ratelimit.Result, limit int64) int64 {
	t.Helper()
	rig.Eventually(t, 3*time.Second, "a window without calls", func() bool { return peek().Remaining == limit })
	rig.Eventually(t, 3*time.Second, "the end of a window to come near", func() bool {
		if r := peek(); r.ResetAfter == 0 {
			allow(t, all[0], "k", 1)
		} else if r.ResetAfter < 400*time.Millisecond {
			return true
		}
		return false
	})
	for _, l := range all {
		// an eighth of a batch makes the key busy; then one batch is taken, and nearly all of it
		// remains
		for range 4 {
			allow(t, l, "k", 1)
		}
	}
	rig.Eventually(t, 3*time.Second, "the next window", func() bool { return peek().Remaining == limit })

	var admitted atomic.Int64
	var wg sync.WaitGroup
	for _, l := range all {
		wg.Go(func() {
			for range 2 * limit {
				if r, err := l.Allow(t.Context(), "k"); err != nil {
					t.Error(err)
				} else if r.Allowed {
					admitted.Add(1)
				} else {
					return
				}
			}
		})
	}
	wg.Wait()
	if r := peek(); r.Remaining == limit {
		return 0 // the window ended in the meantime
	}
	return admitted.Load()
}

// A leased key takes one round trip per batch, and every token is used once.
func TestLeaseSavesRoundTrips(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	client := open(t, server.URL(), "app")
	for _, a := range all {
		l := leased(t, client, a, 100, ratelimit.Rule{Limit: 1050, Window: year})
		before := server.CommandStats()["evalsha"]
		var admitted atomic.Int64
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				for {
					r, err := l.Allow(t.Context(), "hot")
					if err != nil {
						t.Error(err)
						return
					}
					if !r.Allowed {
						return
					}
					admitted.Add(1)
				}
			})
		}
		wg.Wait()
		if n := admitted.Load(); n != 1050 {
			t.Errorf("%v: %d admitted of 1050", a, n)
		}
		if trips := server.CommandStats()["evalsha"] - before; trips > 150 {
			t.Errorf("%v: %d round trips for 1050 tokens in batches of 100", a, trips)
		}
		if s := l.Stats(); s.Leased == 0 || s.Leased+s.Allowed != 1050 {
			t.Errorf("%v: %+v", a, s)
		}
	}
}

// Close returns unused tokens.
func TestCloseReturnsLeasedTokens(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	namespace := rig.Prefix(t)
	rule := ratelimit.Rule{Limit: 1000, Window: time.Hour}
	client, err := redstart.Open(t.Context(), redstart.Config{URL: server.URL(), Namespace: namespace,
		CommandTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	l := leased(t, client, ratelimit.GCRA, 100, rule)
	for range 30 {
		allow(t, l, "k", 1)
	}
	witness := leased(t, open(t, server.URL(), namespace), ratelimit.GCRA, 100, rule)
	if r, err := witness.Peek(t.Context(), "k"); err != nil || r.Remaining > 911 {
		t.Errorf("before: %+v, %v", r, err)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	// A token drains in 3.6 s, and the batch is younger: one token is kept for that.
	if r, err := witness.Peek(t.Context(), "k"); err != nil || r.Remaining < 968 || r.Remaining > 970 {
		t.Errorf("after: %+v, %v; want 969 or so of 1000, since 30 were used", r, err)
	}
}

// Leased tokens are used while Redis is unavailable. Then the outage policy decides.
func TestLeaseInAnOutage(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	const timeout = time.Second
	client := open(t, server.URL(), "app", func(c *redstart.Config) { c.CommandTimeout = timeout })
	l := leased(t, client, ratelimit.GCRA, 50, ratelimit.Rule{Limit: 1000, Window: time.Hour})
	for range 10 {
		allow(t, l, "k", 1)
	}
	server.Stop()
	defer server.Continue()
	var wg sync.WaitGroup
	var failed atomic.Int64
	watch := rig.Watch(t)
	for range 100 { // many callers wait for one batch; none waits longer than the command timeout
		wg.Go(func() {
			r, err := l.Allow(t.Context(), "k")
			if err != nil {
				failed.Add(1)
				if !errors.Is(err, redstart.ErrUnavailable) && !errors.Is(err, redstart.ErrIndeterminate) {
					t.Error(err)
				}
			} else if !r.Allowed {
				t.Errorf("refused in an outage: %+v", r)
			}
		})
	}
	wg.Wait()
	// If each caller waited for the one before it, the hundredth would return after 57 command
	// timeouts.
	if took := watch.Took(); took > 10*timeout {
		t.Errorf("waited %v", took)
	}
	if n := failed.Load(); n < 50 || n == 100 {
		t.Errorf("%d of 100 failed; about 39 tokens were held", n)
	}
}

// The next batch is taken while the last tokens of this one are used, once. There are never more
// than Batch tokens.
func TestBatchIsTakenInAdvance(t *testing.T) {
	t.Parallel()
	const batch, low, limit = 80, 10, 1000
	server := rig.Standalone(t)
	client := open(t, server.URL(), "app")
	l := leased(t, client, ratelimit.FixedWindow, batch, ratelimit.Rule{Limit: limit, Window: year})
	admitted := int64(0)
	held := func() int64 {
		r, err := l.Peek(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		return limit - r.Remaining - admitted
	}
	take := func() {
		if r := allow(t, l, "k", 1); !r.Allowed || r.Degraded {
			t.Fatalf("token %d: %+v", admitted, r)
		}
		if admitted++; held() > batch {
			t.Fatalf("%d tokens held after %d, at most %d", held(), admitted, batch)
		}
	}
	for held() == 0 {
		take() // until the key is busy
	}
	for range 3 {
		for held() > low {
			take()
		}
		take() // one token below low
		rig.Eventually(t, 10*time.Second, "a batch without waiting callers", func() bool { return held() == low-1+batch-low })
	}

	for held() > low {
		take()
	}
	before := server.CommandStats()["evalsha"]
	server.Stop()
	for range low {
		if r := allow(t, l, "k", 1); !r.Allowed || r.Degraded {
			t.Errorf("%+v", r) // from memory: the server has stopped
		}
	}
	server.Continue()
	admitted += low
	take()
	if n := server.CommandStats()["evalsha"] - before; n != 2 { // and one for the peek of take
		t.Errorf("%d scripts run, want one batch and one look", n)
	}
}
