package ratelimit_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/ratelimit"
)

// The suite that every engine passes, for every algorithm.
func TestEveryEngine(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := open(t, e.URL, e.Namespace)
		for _, a := range all {
			t.Run(a.String(), func(t *testing.T) {
				t.Parallel()
				behaves(t, client, a)
			})
		}
		for _, a := range all {
			t.Run(a.String()+" within a second", func(t *testing.T) {
				t.Parallel()
				within(t, client, a)
			})
		}
		t.Run("Concurrency", func(t *testing.T) {
			t.Parallel()
			permits(t, client)
		})
	})
}

// within charges a key whose TATs are in one second. Such a key is written in another way than a
// key with a later TAT.
func within(t *testing.T, client *redstart.Client, a ratelimit.Algorithm) {
	l, err := ratelimit.New(client, "w "+a.String(), ratelimit.Options{
		Algorithm: a, Rules: []ratelimit.Rule{ratelimit.PerSecond(1_000_000)}, Outage: ratelimit.FailClosed,
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if r, err := l.Allow(t.Context(), "k"); err != nil || !r.Allowed || r.Degraded {
			t.Fatalf("%+v, %v", r, err)
		}
	}
}

func behaves(t *testing.T, client *redstart.Client, a ratelimit.Algorithm) {
	l, err := ratelimit.New(client, "b "+a.String(), ratelimit.Options{
		Algorithm: a,
		Rules:     []ratelimit.Rule{ratelimit.PerHour(5), {Name: "day", Limit: 7, Window: 24 * time.Hour}},
		Outage:    ratelimit.FailClosed,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"", "user:{1}*?[a]\\", "\x00\xff é", strings.Repeat("k", 1024)} {
		if r, err := l.Peek(t.Context(), key); err != nil || !r.Allowed || r.Remaining != 5 ||
			r.Rule != "5/1h" || r.ResetAfter != 0 {
			t.Errorf("peek before: %+v, %v", r, err)
		}
		for i := range int64(4) {
			if r := allow(t, l, key, 1); !r.Allowed || r.Remaining != 4-i || r.Limit != 5 || r.Degraded || r.RetryAfter != 0 {
				t.Errorf("%q call %d: %+v", key, i, r)
			}
		}
		if r := allow(t, l, key, 2); r.Allowed || r.Remaining != 1 || r.Rule != "5/1h" || r.RetryAfter <= 0 ||
			r.RetryAfter > 24*time.Hour {
			t.Errorf("%q two of one: %+v", key, r)
		}
		if r := allow(t, l, key, 1); !r.Allowed {
			t.Errorf("%q after a refusal of two: %+v", key, r)
		}
		if r := allow(t, l, key, 1); r.Allowed || r.Remaining != 0 {
			t.Errorf("%q past the limit: %+v", key, r)
		}
		if err := l.Refund(t.Context(), key, 2); err != nil {
			t.Error(err)
		}
		if r := allow(t, l, key, 2); !r.Allowed {
			t.Errorf("%q after a refund: %+v", key, r)
		}
		if r := allow(t, l, key, 1); r.Allowed {
			t.Errorf("%q after the refund was used: %+v", key, r)
		}
		if err := l.Reset(t.Context(), key); err != nil {
			t.Error(err)
		}
		if r := allow(t, l, key, 5); !r.Allowed || r.Remaining != 0 {
			t.Errorf("%q after a reset: %+v", key, r)
		}
	}

	pro, err := l.With(ratelimit.PerHour(50), ratelimit.Rule{Name: "day", Limit: 7, Window: 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if r := allow(t, pro, "", 2); a != ratelimit.SlidingLog && (!r.Allowed || r.Rule != "day" || r.Remaining != 0) {
		t.Errorf("another plan: %+v: the rule that both have must share its count, the other must not", r)
	}
	if _, err := l.AllowN(t.Context(), "k", 6); !errors.Is(err, ratelimit.ErrCost) ||
		!strings.Contains(err.Error(), `"5/1h", 5`) {
		t.Errorf("a cost above the limit: %v", err)
	}
	if _, err := l.AllowN(t.Context(), "k", 0); !errors.Is(err, ratelimit.ErrCost) {
		t.Errorf("a cost of 0: %v", err)
	}
	if _, err := l.Allow(t.Context(), strings.Repeat("k", 1025)); !errors.Is(err, redstart.ErrTooLarge) {
		t.Errorf("a long key: %v", err)
	}
}

func permits(t *testing.T, client *redstart.Client) {
	c, err := ratelimit.NewConcurrency(client, "c", ratelimit.ConcurrencyOptions{Limit: 2, Outage: ratelimit.FailClosed})
	if err != nil {
		t.Fatal(err)
	}
	var out []*ratelimit.Permit
	for i := range int64(2) {
		p, err := c.Acquire(t.Context(), "k")
		if err != nil || p.Remaining != 1-i {
			t.Fatalf("permit %d: %+v, %v", i, p, err)
		}
		out = append(out, p)
	}
	if _, err := c.Acquire(t.Context(), "k"); !errors.Is(err, ratelimit.ErrBusy) {
		t.Errorf("a third permit: %v", err)
	}
	if err := out[0].Extend(t.Context()); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := out[0].Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if err := out[0].Extend(t.Context()); !errors.Is(err, ratelimit.ErrExpired) {
		t.Errorf("extend after release: %v", err)
	}
	if _, err := c.Acquire(t.Context(), "k"); err != nil {
		t.Error(err)
	}
}

func TestOptionsAreNamedInErrors(t *testing.T) {
	t.Parallel()
	client := shared(t)
	one := []ratelimit.Rule{ratelimit.PerSecond(10)}
	for want, o := range map[string]ratelimit.Options{
		"Options.Rules is empty": {},
		"Rules[0].Limit is -2":   {Rules: []ratelimit.Rule{{Limit: -2, Window: time.Second}}},
		"Rules[0].Window is 0s":  {Rules: []ratelimit.Rule{{}}},
		"Rules[0].Burst is 3":    {Rules: []ratelimit.Rule{{Limit: 0, Window: time.Second, Burst: 3}}},
		"Rules[0].Burst is 2":    {Rules: []ratelimit.Rule{{Limit: ratelimit.Unlimited, Burst: 2}}},
		"Rules[1].Window is 0s":  {Rules: []ratelimit.Rule{one[0], {Limit: 1}}},
		"Rules[0].Burst is -1":   {Rules: []ratelimit.Rule{{Limit: 1, Window: time.Second, Burst: -1}}},
		"only GCRA has one, FixedWindow": {Algorithm: ratelimit.FixedWindow,
			Rules: []ratelimit.Rule{{Limit: 1, Window: time.Second, Burst: 1}}},
		"printable ASCII":            {Rules: []ratelimit.Rule{{Name: "é", Limit: 1, Window: time.Second}}},
		"Rules[1].Name is \"10/1s\"": {Rules: []ratelimit.Rule{one[0], one[0]}},
		"Options.Algorithm":          {Rules: one, Algorithm: 9},
		"Options.Outage":             {Rules: one, Outage: 9},
		"Options.LocalShare is 0":    {Rules: one, Outage: ratelimit.FailLocal},
		"Options.LocalShare is for":  {Rules: one, LocalShare: 0.5},
		"Options.MaxLocalKeys is -1": {Rules: one, MaxLocalKeys: -1},
		"Options.Lease.Batch is 11":  {Rules: one, Lease: ratelimit.Lease{Batch: 11}},
		"Options.Lease.Hold is 2s":   {Rules: one, Lease: ratelimit.Lease{Batch: 1, Hold: 2 * time.Second}},
		"Options.Fields":             {Rules: one, Fields: 9},
		"Rules[0].Name is 65 bytes long": {Rules: []ratelimit.Rule{{Name: strings.Repeat("n", 65), Limit: 1,
			Window: time.Second}}},
		"Options.Rules has 17 rules": {Rules: make([]ratelimit.Rule, 17)},
		"refilled within ten years":  {Rules: []ratelimit.Rule{{Limit: 1, Window: 24 * time.Hour, Burst: 1e6}}},
	} {
		if _, err := ratelimit.New(client, "n", o); err == nil || !strings.Contains(err.Error(), want) ||
			!strings.HasPrefix(err.Error(), "ratelimit: ") {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	if _, err := ratelimit.New(client, strings.Repeat("n", 129), ratelimit.Options{Rules: one}); err == nil ||
		!strings.Contains(err.Error(), "name") {
		t.Errorf("a long name: %v", err)
	}
	if _, err := ratelimit.New(client, "", ratelimit.Options{Rules: one}); err == nil || !strings.Contains(err.Error(), "name") {
		t.Errorf("New with an empty name: %v", err)
	}
	if _, err := ratelimit.NewConcurrency(client, "", ratelimit.ConcurrencyOptions{Limit: 1}); err == nil ||
		!strings.Contains(err.Error(), "name") {
		t.Errorf("NewConcurrency with an empty name: %v", err)
	}
	for want, o := range map[string]ratelimit.ConcurrencyOptions{
		"ConcurrencyOptions.Limit":  {},
		"ConcurrencyOptions.TTL":    {Limit: 1, TTL: -1},
		"ConcurrencyOptions.Outage": {Limit: 1, Outage: ratelimit.FailLocal},
	} {
		if _, err := ratelimit.NewConcurrency(client, "n", o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	if got := fmt.Sprint(ratelimit.SlidingLog, ratelimit.Algorithm(9)); got != "SlidingLog Algorithm(9)" {
		t.Error(got)
	}
}
