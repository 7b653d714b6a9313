package ratelimit_test

import (
	"strconv"
	"testing"

	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/ratelimit"
)

// Any number of plans over one key, as when rules change at run time: a state keeps the counts of
// the latest plans and stays bounded.
func TestR1_AStateIsBounded(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	client := shared(t)
	const plans = 400
	for _, a := range []ratelimit.Algorithm{ratelimit.GCRA, ratelimit.SlidingWindow, ratelimit.FixedWindow} {
		base, err := ratelimit.New(client, "plans "+a.String(), ratelimit.Options{
			Algorithm: a, Rules: []ratelimit.Rule{{Name: "base", Limit: 1_000_000, Window: year}}, Outage: ratelimit.FailClosed,
		})
		if err != nil {
			t.Fatal(err)
		}
		space, err := clientcore.Of(client).Keys("limit", "plans "+a.String())
		if err != nil {
			t.Fatal(err)
		}
		key := space.Key("k")
		if a != ratelimit.GCRA {
			key = space.Sibling("k", map[ratelimit.Algorithm]string{ratelimit.SlidingWindow: "sliding",
				ratelimit.FixedWindow: "fixed"}[a])
		}
		most := 0
		for i := range int64(plans) {
			l, err := base.With(ratelimit.Rule{Name: "of its own", Limit: 1000 + i, Window: year})
			if err != nil {
				t.Fatal(err)
			}
			if r := allow(t, l, "k", 1); !r.Allowed || r.Remaining != 999+i {
				t.Fatalf("%v, plan %d: %+v", a, i, r)
			}
			if i%2 == 0 {
				allow(t, base, "k", 1) // a plan that is in use all the time
			}
			if i%100 == 99 {
				size, err := strconv.Atoi(server.CLI("STRLEN", key))
				if err != nil || size == 0 {
					t.Fatal(size, err)
				}
				most = max(most, size)
			}
		}
		if most > 8<<10 {
			t.Errorf("%v: the state of one key has up to %d bytes after %d plans", a, most, plans)
		}
		if r, err := base.Peek(t.Context(), "k"); err != nil || r.Remaining != 1_000_000-plans/2 {
			t.Errorf("%v: the plan that was in use has lost its count: %+v, %v", a, r, err)
		}
		t.Logf("%v: up to %d bytes", a, most)
	}
}
