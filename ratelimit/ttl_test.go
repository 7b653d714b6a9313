package ratelimit_test

import (
	"errors"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/ratelimit"
)

// In a rolling deployment that shortens TTL, permits of the old processes last as long as they were
// granted for. Neither a grant, a refusal, nor the key's expiry of a new process ends them.
func TestConcurrencyWithTwoTTLs(t *testing.T) {
	t.Parallel()
	server, namespace := rig.Shared(t), rig.Prefix(t)
	of := func(ttl time.Duration) *ratelimit.Concurrency {
		c, err := ratelimit.NewConcurrency(open(t, server.URL(), namespace), "c",
			ratelimit.ConcurrencyOptions{Limit: 2, TTL: ttl, Outage: ratelimit.FailClosed})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	long, short := of(time.Minute), of(50*time.Millisecond)
	for _, key := range []string{"one", "two"} {
		var held []*ratelimit.Permit
		for i := range 2 {
			c := long
			if key == "one" && i == 1 {
				c = short // grants its own permit, and sets the key's expiry
			}
			p, err := c.Acquire(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, p)
		}
		if _, err := short.Acquire(t.Context(), key); !errors.Is(err, ratelimit.ErrBusy) {
			t.Errorf("%s: a third permit: %v", key, err)
		}
		<-time.After(200 * time.Millisecond)
		free := 0
		for range 3 {
			if _, err := short.Acquire(t.Context(), key); err == nil {
				free++
			}
		}
		if want := map[string]int{"one": 1, "two": 0}[key]; free != want {
			t.Errorf("%s: %d permits granted next to those of a minute, want %d", key, free, want)
		}
		if err := held[0].Extend(t.Context()); err != nil {
			t.Errorf("%s: the long permit: %v", key, err)
		}
	}
}
