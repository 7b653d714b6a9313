package ratelimit_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/ratelimit"
)

// With several rules, a refusal by one leaves the others uncharged. A refusal and a peek write
// nothing.
func TestR2_AllRulesOrNone(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	client := open(t, server.URL(), "app")
	writes := func() (n int64) {
		stats := server.CommandStats()
		for _, name := range []string{"set", "setrange", "del", "xadd", "xdel", "xtrim", "pexpire"} {
			n += stats[name]
		}
		return n
	}
	for _, a := range all {
		name := "r2 " + a.String()
		l, err := ratelimit.New(client, name, ratelimit.Options{Algorithm: a, Outage: ratelimit.FailClosed,
			Rules: []ratelimit.Rule{
				{Name: "wide", Limit: 100, Window: year}, {Name: "narrow", Limit: 3, Window: year},
				{Name: "middle", Limit: 50, Window: year},
			}})
		if err != nil {
			t.Fatal(err)
		}
		wide, err := l.With(ratelimit.Rule{Name: "wide", Limit: 100, Window: year})
		if err != nil {
			t.Fatal(err)
		}
		if r := allow(t, l, "k", 3); !r.Allowed || r.Rule != "narrow" || r.Remaining != 0 {
			t.Errorf("%v: %+v", a, r)
		}
		before := writes()
		// each answer comes from Redis, because the denied-key cache has larger costs only
		for n := int64(3); n >= 1; n-- {
			if r := allow(t, l, "k", n); r.Allowed || r.Rule != "narrow" || r.Limit != 3 {
				t.Errorf("%v: %+v", a, r)
			}
		}
		if s := l.Stats(); s.Refused != 3 || s.RefusedLocally != 0 || s.RefusedByRule["narrow"] != 3 {
			t.Errorf("%v: the denials were to come from Redis: %+v", a, s)
		}
		if r, err := l.Peek(t.Context(), "k"); err != nil || r.Allowed || r.Rule != "narrow" {
			t.Errorf("%v: %+v, %v", a, r, err)
		}
		if r, err := wide.Peek(t.Context(), "k"); err != nil || !r.Allowed || r.Remaining != 97 {
			t.Errorf("%v: the wide rule was charged for refused requests, or not for admitted ones: %+v, %v", a, r, err)
		}
		if n := writes() - before; n != 0 {
			t.Errorf("%v: refused requests and peeks wrote %d times", a, n)
		}
	}
}

// By the real clock, a request is admitted at RetryAfter and not before.
func TestR3_RetryAfterOnARealServer(t *testing.T) {
	t.Parallel()
	client := shared(t)
	for _, a := range all {
		l, err := ratelimit.New(client, "r3 "+a.String(),
			ratelimit.Options{Algorithm: a, Rules: []ratelimit.Rule{{Limit: 2, Window: 200 * time.Millisecond}}})
		if err != nil {
			t.Fatal(err)
		}
		for round := range 3 {
			var r ratelimit.Result
			rig.Eventually(t, 5*time.Second, "a refusal", func() bool {
				r = allow(t, l, "k", 2)
				return !r.Allowed
			})
			began := time.Now()
			<-time.After(r.RetryAfter)
			if r := allow(t, l, "k", 2); !r.Allowed {
				t.Errorf("%v, round %d: refused %v after a refusal: %+v", a, round, time.Since(began), r)
			}
		}
	}
}

// A denied key is refused from memory, without a command. Smaller costs ask Redis.
func TestR4_DeniedKeysCostNoCommand(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	client := open(t, server.URL(), "app")
	scripts := func() int64 { s := server.CommandStats(); return s["evalsha"] + s["eval"] }
	for _, a := range all {
		l, err := ratelimit.New(client, a.String(),
			ratelimit.Options{Algorithm: a, Rules: []ratelimit.Rule{{Limit: 10, Window: year}}})
		if err != nil {
			t.Fatal(err)
		}
		allow(t, l, "k", 7)
		first := allow(t, l, "k", 5)
		before := scripts()
		for n := int64(5); n <= 10; n++ {
			if r := allow(t, l, "k", n); r.Allowed || r.Rule != first.Rule || r.Remaining != 3 ||
				r.RetryAfter > first.RetryAfter || r.RetryAfter <= 0 {
				t.Errorf("%v: %+v after %+v", a, r, first)
			}
		}
		if n := scripts() - before; n != 0 {
			t.Errorf("%v: %d commands for denied keys", a, n)
		}
		if r := allow(t, l, "k", 2); !r.Allowed {
			t.Errorf("%v: a cost below what was refused must ask: %+v", a, r)
		}
		before = scripts()
		if r := allow(t, l, "k", 5); r.Allowed || scripts() != before {
			t.Errorf("%v: forgotten, because a smaller cost was admitted: %+v", a, r)
		}
		if r := allow(t, l, "other", 5); !r.Allowed {
			t.Errorf("%v: another key: %+v", a, r)
		}
	}
}

// One caller asks Redis again within a second. By then, a reset or refund by another process, or a
// loss in Redis, takes effect.
func TestR4_RedisIsAskedOncePerSecond(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	one, two := open(t, server.URL(), "app"), open(t, server.URL(), "app")
	opts := ratelimit.Options{Rules: []ratelimit.Rule{{Limit: 10, Window: year}}}
	for name, change := range map[string]func(key string) error{
		"reset":  func(key string) error { return limiter(t, two, opts).Reset(t.Context(), key) },
		"refund": func(key string) error { return limiter(t, two, opts).Refund(t.Context(), key, 10) },
		"lost":   func(string) error { server.CLI("FLUSHALL"); return nil },
	} {
		l := limiter(t, one, opts)
		began := time.Now()
		allow(t, l, name, 10)
		allow(t, l, name, 1)
		if r := allow(t, l, name, 1); r.Allowed {
			t.Fatalf("%s: %+v", name, r)
		}
		if err := change(name); err != nil {
			t.Fatal(err)
		}
		watch := rig.Watch(t)
		rig.Eventually(t, 5*time.Second, "admitted again after "+name, func() bool { return allow(t, l, name, 1).Allowed })
		if took := watch.Took(); took > time.Second+250*time.Millisecond {
			t.Errorf("%s took effect after %v", name, took)
		}
		if s := l.Stats(); s.RefusedLocally == 0 {
			t.Errorf("%s: nothing was refused from memory in %v, so this shows nothing", name, time.Since(began))
		}
	}

	// Changes by this process take effect immediately.
	l := limiter(t, one, opts)
	allow(t, l, "own", 10)
	for name, change := range map[string]func() error{
		"reset":  func() error { return l.Reset(t.Context(), "own") },
		"refund": func() error { return l.Refund(t.Context(), "own", 10) },
	} {
		if r := allow(t, l, "own", 1); r.Allowed {
			t.Errorf("before %s: %+v", name, r)
		}
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if r := allow(t, l, "own", 10); !r.Allowed {
			t.Errorf("after own %s: %+v", name, r)
		}
	}
}

// A flood of refused keys takes bounded memory, and each key is still refused.
func TestR4_DeniedKeysAreBounded(t *testing.T) {
	t.Parallel()
	l := limiter(t, shared(t), ratelimit.Options{Rules: []ratelimit.Rule{{Limit: 1, Window: year}}})
	for i := range 300 {
		key := fmt.Sprint("k", i)
		allow(t, l, key, 1)
		if r := allow(t, l, key, 1); r.Allowed {
			t.Fatalf("%s: %+v", key, r)
		}
	}
	if n := ratelimit.DeniedKept(l); n == 0 || n > ratelimit.MaxDenied {
		t.Errorf("%d denied keys in memory, at most %d", n, ratelimit.MaxDenied)
	}
	ratelimit.FillDenied(l)
	// one generation is full
	if n := ratelimit.DeniedKept(l); n < ratelimit.MaxDenied/2 || n > ratelimit.MaxDenied {
		t.Errorf("%d denied keys in memory after a flood, want %d to %d", n, ratelimit.MaxDenied/2, ratelimit.MaxDenied)
	}
	s := l.Stats()
	if len(s.TopRefused) > 64 {
		t.Errorf("%d top keys", len(s.TopRefused))
	}
}

func TestStatsAndTopRefused(t *testing.T) {
	t.Parallel()
	client := shared(t)
	l := limiter(t, client, ratelimit.Options{Rules: []ratelimit.Rule{{Name: "r", Limit: 1, Window: year}}})
	for key, n := range map[string]int{"worst": 30, "bad": 10, "fine": 1} {
		for range n {
			allow(t, l, key, 1)
		}
	}
	s := l.Stats()
	if s.Allowed != 3 || s.Refused != 2 || s.RefusedLocally != 36 || s.RefusedByRule["r"] != 38 {
		t.Errorf("%+v", s)
	}
	want := []ratelimit.KeyCount{{Key: "worst", Count: 29}, {Key: "bad", Count: 9}}
	if fmt.Sprint(s.TopRefused) != fmt.Sprint(want) {
		t.Errorf("top: %+v, want %+v", s.TopRefused, want)
	}
	seen := map[string]float64{}
	for m := range client.Metrics() {
		seen[fmt.Sprint(m.Name, m.Labels)] = m.Value
	}
	for name, value := range map[string]float64{
		"redstart.ratelimit.requests[{limiter api} {outcome allowed}]":         3,
		"redstart.ratelimit.requests[{limiter api} {outcome refused_locally}]": 36,
		"redstart.ratelimit.refused[{limiter api} {rule r}]":                   38,
	} {
		if seen[name] != value {
			t.Errorf("%s is %v, want %v", name, seen[name], value)
		}
	}
	h, err := ratelimit.New(client, "hashed", ratelimit.Options{HashKeys: true,
		Rules: []ratelimit.Rule{{Limit: 1, Window: year}}})
	if err != nil {
		t.Fatal(err)
	}
	allow(t, h, "secret", 1)
	allow(t, h, "secret", 1)
	if s := h.Stats(); len(s.TopRefused) != 1 || s.TopRefused[0].Key != "2bb80d537b1da3e3" {
		t.Errorf("hashed: %+v", s.TopRefused)
	}
}

// RetryAfter from memory includes the latency of the refusing call: a retry at that time is
// admitted.
func TestR3_RetryAfterFromMemoryCountsTheLatency(t *testing.T) {
	t.Parallel()
	const latency = 250 * time.Millisecond
	proxy, namespace := rig.NewProxy(t, rig.Shared(t).Addr()), rig.Prefix(t)
	rule := ratelimit.Rule{Name: "r", Limit: 1, Window: 900 * time.Millisecond}
	opts := ratelimit.Options{Rules: []ratelimit.Rule{rule}, Outage: ratelimit.FailClosed}
	far, near := limiter(t, open(t, proxy.URL(), namespace), opts), limiter(t, open(t, rig.Shared(t).URL(), namespace), opts)
	allow(t, far, "warm", 1)
	allow(t, near, "k", 1)
	proxy.StallRequests() // Redis counts from the arrival of the request
	time.AfterFunc(latency, proxy.Resume)
	if r := allow(t, far, "k", 1); r.Allowed {
		t.Fatalf("%+v: too slow a machine", r)
	}
	began := time.Now()
	r := allow(t, far, "k", 1)
	if far.Stats().RefusedLocally != 1 {
		t.Fatalf("%+v: not from memory", r)
	}
	<-time.After(time.Until(began.Add(r.RetryAfter)))
	if at, err := near.Peek(t.Context(), "k"); err != nil || !at.Allowed {
		t.Errorf("a retry after %v would be refused for %v more: %v", r.RetryAfter, at.RetryAfter, err)
	}
}
