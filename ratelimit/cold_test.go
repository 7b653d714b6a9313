package ratelimit_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/ratelimit"
)

// Bursts of concurrent callers, each after the lease of the previous burst has ended. Every charged
// token is used, leased or returned. No token is lost with a lease that ended while callers waited
// for its next batch.
func TestR1_ALeaseLosesNoToken(t *testing.T) {
	t.Parallel()
	const bursts, callers, limit = 8, 60, 100_000
	proxy := rig.NewProxy(t, rig.Shared(t).Addr())
	l, err := ratelimit.New(open(t, proxy.URL(), rig.Prefix(t)), "bursts", ratelimit.Options{
		Rules: []ratelimit.Rule{{Limit: limit, Window: year}}, Outage: ratelimit.FailClosed,
		Lease: ratelimit.Lease{Batch: 50, Hold: 50 * time.Millisecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	allow(t, l, "k", 1)
	proxy.Delay(2 * time.Millisecond) // so that callers of a burst wait together
	var admitted atomic.Int64
	admitted.Add(1)
	for range bursts {
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				if r, err := l.Allow(t.Context(), "k"); err != nil {
					t.Error(err)
				} else if r.Allowed {
					admitted.Add(1)
				}
			})
		}
		wg.Wait()
		<-time.After(100 * time.Millisecond)
	}
	if n := admitted.Load(); n != bursts*callers+1 {
		t.Errorf("%d admitted of %d", n, bursts*callers+1)
	}
	// A return keeps one token of the batch, because a part of it may have drained, and the tokens
	// of earlier batches.
	const kept = bursts * (1 + 50/8)
	rig.Eventually(t, 10*time.Second, "tokens that are charged and not used to be given back", func() bool {
		r, err := l.Peek(t.Context(), "k")
		return err == nil && limit-r.Remaining-admitted.Load() <= kept
	})
}

// A batch whose answer takes longer than Hold cannot be used. It is returned, and its callers ask
// Redis.
func TestR1_ALateBatchIsReturned(t *testing.T) {
	t.Parallel()
	const callers, limit, batch = 60, 100_000, 100
	const hold = 50 * time.Millisecond
	proxy := rig.NewProxy(t, rig.Shared(t).Addr())
	l, err := ratelimit.New(open(t, proxy.URL(), rig.Prefix(t)), "late", ratelimit.Options{
		Rules: []ratelimit.Rule{{Limit: limit, Window: year}}, Outage: ratelimit.FailClosed,
		Lease: ratelimit.Lease{Batch: batch, Hold: hold},
	})
	if err != nil {
		t.Fatal(err)
	}
	allow(t, l, "k", 1)
	admitted := int64(1)
	proxy.Delay(2 * hold)
	for range 3 {
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				if r, err := l.Allow(t.Context(), "k"); err != nil || !r.Allowed {
					t.Errorf("%+v, %v", r, err)
				}
			})
		}
		wg.Wait()
		admitted += callers
	}
	proxy.Delay(0)
	const batches = 6 // at most: each return keeps one token, which may have drained
	rig.Eventually(t, 10*time.Second, "batches that were of no use to be given back", func() bool {
		r, err := l.Peek(t.Context(), "k")
		return err == nil && limit-r.Remaining-admitted <= batches
	})
}

// Leased tokens that are not used are returned after Hold, without another call of this process.
func TestR1_AnUnusedLeaseIsReturned(t *testing.T) {
	t.Parallel()
	server, namespace := rig.Shared(t), rig.Prefix(t)
	l := leased(t, open(t, server.URL(), namespace), ratelimit.GCRA, 100, ratelimit.Rule{Limit: 1000, Window: time.Hour})
	witness := leased(t, open(t, server.URL(), namespace), ratelimit.GCRA, 100, ratelimit.Rule{Limit: 1000, Window: time.Hour})
	for range 30 {
		allow(t, l, "k", 1)
	}
	remaining := func() int64 {
		r, err := witness.Peek(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		return r.Remaining
	}
	if n := remaining(); n > 920 {
		t.Fatalf("%d remain: nothing is on lease", n)
	}
	// 30 were used, and one or two drain in the meantime.
	rig.Eventually(t, 20*time.Second, "unused tokens to be given back", func() bool { return remaining() >= 968 })
	if n := remaining(); n > 972 {
		t.Errorf("%d remain of 1000 after 30 were used", n)
	}
	if n := ratelimit.LeasesKept(l); n != 0 {
		t.Errorf("%d leases are kept", n)
	}
}

// A call that finds an ended lease waits for one answer of Redis and not for two, because unused
// tokens are returned in the background.
func TestR5_AnEndedLeaseCostsOneRoundTrip(t *testing.T) {
	t.Parallel()
	const latency = 300 * time.Millisecond
	proxy := rig.NewProxy(t, rig.Shared(t).Addr())
	client := open(t, proxy.URL(), rig.Prefix(t))
	l := leased(t, client, ratelimit.GCRA, 100, ratelimit.Rule{Limit: 1000, Window: time.Hour})
	for range 30 {
		allow(t, l, "k", 1)
	}
	proxy.Delay(latency)
	trip := func(call func() error) time.Duration {
		began := time.Now()
		if err := call(); err != nil {
			t.Error(err)
		}
		return time.Since(began)
	}
	rig.Eventually(t, 10*time.Second, "the tokens on lease to have ended", func() bool {
		before := l.Stats().Leased
		control := make(chan time.Duration, 1)
		// at the same time, on the same machine
		go func() { control <- trip(func() error { return client.Ping(t.Context()) }) }()
		took := trip(func() error {
			r, err := l.Allow(t.Context(), "k")
			if err == nil && (!r.Allowed || r.Degraded) {
				t.Errorf("%+v", r)
			}
			return err
		})
		if one := <-control; took > one*7/4 {
			t.Fatalf("a call at the end of a lease took %v, a round trip takes %v", took, one)
		}
		<-time.After(50 * time.Millisecond)
		return l.Stats().Leased == before
	})
}

// Reset removes the charges of a key in every plan, including leased tokens of other plans in this
// process.
func TestResetEndsLeasesOfAllPlans(t *testing.T) {
	t.Parallel()
	const burst = 100
	l := leased(t, shared(t), ratelimit.GCRA, 50, ratelimit.Rule{Limit: 1, Window: time.Hour, Burst: burst})
	other, err := l.With(ratelimit.Rule{Name: "other", Limit: 2, Window: time.Hour, Burst: burst})
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		allow(t, other, "k", 1)
	}
	if err := l.Reset(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	admitted := 0
	for range 2 * burst {
		if allow(t, other, "k", 1).Allowed {
			admitted++
		}
	}
	if admitted > burst || admitted < burst/2 {
		t.Errorf("%d admitted after Reset, with a burst of %d", admitted, burst)
	}
}
