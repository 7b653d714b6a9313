package ratelimit_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/ratelimit"
)

// full makes a server refuse commands that need memory.
func full(server *rig.Server) {
	server.CLI("CONFIG", "SET", "maxmemory-policy", "noeviction")
	server.CLI("CONFIG", "SET", "maxmemory", "1")
}

// TestR5_AFullServer: at maxmemory under noeviction, a charge of every algorithm returns ErrFull
// and writes nothing. Calls that need no memory work: denials, peeks, resets.
func TestR5_AFullServer(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	client := open(t, server.URL(), "app")
	limiters := map[ratelimit.Algorithm]*ratelimit.Limiter{}
	for _, a := range all {
		l, err := ratelimit.New(client, a.String(), ratelimit.Options{
			Algorithm: a, Rules: []ratelimit.Rule{{Limit: 3, Window: year}}, Outage: ratelimit.FailClosed,
		})
		if err != nil {
			t.Fatal(err)
		}
		allow(t, l, "spent", 3)
		allow(t, l, "used", 1)
		limiters[a] = l
	}
	full(server)
	before := server.CLI("DBSIZE")
	for a, l := range limiters {
		for _, key := range []string{"new", "used"} {
			for range 2 {
				if r, err := l.Allow(t.Context(), key); !errors.Is(err, redstart.ErrFull) || r.Allowed {
					t.Errorf("%v, a charge of %s: %+v, %v", a, key, r, err)
				}
			}
		}
		if r, err := l.Allow(t.Context(), "spent"); err != nil || r.Allowed {
			t.Errorf("%v, a refusal: %+v, %v", a, r, err)
		}
		if r, err := l.Peek(t.Context(), "used"); err != nil || r.Remaining != 2 {
			t.Errorf("%v, a look: %+v, %v", a, r, err)
		}
	}
	if after := server.CLI("DBSIZE"); after != before {
		t.Errorf("%s keys before, %s after", before, after)
	}
	for a, l := range limiters {
		if err := l.Reset(t.Context(), "spent"); err != nil {
			t.Errorf("%v, a reset: %v", a, err)
		}
	}
	server.CLI("CONFIG", "SET", "maxmemory", "0")
	for a, l := range limiters {
		if r := allow(t, l, "spent", 3); !r.Allowed {
			t.Errorf("%v, after the reset: %+v", a, r)
		}
		if r := allow(t, l, "used", 2); !r.Allowed || r.Remaining != 0 {
			t.Errorf("%v, what a full server refused was charged: %+v", a, r)
		}
	}
}

// TestConcurrencyOnAFullServer: permits that are out are extended and released. A new one is
// ErrFull and takes no memory.
func TestConcurrencyOnAFullServer(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	c, err := ratelimit.NewConcurrency(open(t, server.URL(), "app"), "c",
		ratelimit.ConcurrencyOptions{Limit: 2, TTL: time.Minute, Outage: ratelimit.FailClosed})
	if err != nil {
		t.Fatal(err)
	}
	first, err := c.Acquire(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	full(server)
	for i := range 3 {
		if err := first.Extend(t.Context()); err != nil {
			t.Errorf("extend: %v", err)
		}
		for _, key := range []string{"k", fmt.Sprint("new ", i)} {
			if p, err := c.Acquire(t.Context(), key); !errors.Is(err, redstart.ErrFull) {
				t.Errorf("a new permit of %s on a full server: %+v, %v", key, p, err)
			}
		}
	}
	if n := server.CLI("DBSIZE"); n != "1" {
		t.Errorf("%s keys, want 1", n)
	}
	if err := first.Release(t.Context()); err != nil {
		t.Errorf("release: %v", err)
	}
	server.CLI("CONFIG", "SET", "maxmemory", "0")
	for i := range 2 {
		if p, err := c.Acquire(t.Context(), "k"); err != nil || p.Remaining != int64(1-i) {
			t.Errorf("permit %d after that: %+v, %v", i, p, err)
		}
	}
}

// TestPlansOnAFullServer: stored rules stay in use and can be deleted. A new plan is ErrFull.
func TestPlansOnAFullServer(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	base := limiter(t, open(t, server.URL(), "app"), ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(5)}})
	p := newPlans(t, base, ratelimit.PlansOptions{Refresh: 20 * time.Millisecond})
	setPlan(t, p, "pro", ratelimit.PerHour(50))
	setPlan(t, p, "other", ratelimit.PerHour(60))
	full(server)
	for _, name := range []string{"new", "pro"} {
		if err := p.Set(t.Context(), name, ratelimit.PerHour(70)); !errors.Is(err, redstart.ErrFull) {
			t.Errorf("Set of %s: %v", name, err)
		}
	}
	if got := limitOf(t, p, "new", "pro"); got != 50 {
		t.Errorf("the limit is %d, want 50", got)
	}
	if err := p.Delete(t.Context(), "pro"); err != nil {
		t.Errorf("Delete: %v", err)
	}
	if got := limitOf(t, p, "pro", "other"); got != 60 {
		t.Errorf("after Delete the limit is %d, want 60", got)
	}
}
