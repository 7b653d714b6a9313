package ratelimit_test

import (
	"context"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/ratelimit"
)

// blocked and free are the plans of these tests: a limit of 0 next to another rule, and two rules
// without a limit.
var (
	blocked = []ratelimit.Rule{ratelimit.PerHour(50), {Name: "blocked", Limit: 0, Window: time.Hour}}
	free    = []ratelimit.Rule{{Limit: ratelimit.Unlimited}, {Name: "staff", Limit: ratelimit.Unlimited, Window: time.Hour}}
)

// A limit of 0 refuses every request, and Unlimited admits every request, with each algorithm and
// on each engine.
func TestLimitZeroAndUnlimited(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := open(t, e.URL, e.Namespace)
		for _, a := range all {
			l, err := ratelimit.New(client, "verdict "+a.String(), ratelimit.Options{
				Algorithm: a, Rules: []ratelimit.Rule{ratelimit.PerHour(50)}, Outage: ratelimit.FailClosed,
			})
			if err != nil {
				t.Fatal(err)
			}
			none, err := l.With(blocked...)
			if err != nil {
				t.Fatal(err)
			}
			staff, err := l.With(free...)
			if err != nil {
				t.Fatal(err)
			}

			refused := ratelimit.Result{Rule: "blocked", RetryAfter: ratelimit.Never}
			admitted := ratelimit.Result{Allowed: true, Rule: "unlimited", Limit: ratelimit.Unlimited, Remaining: math.MaxInt64}
			for n := range int64(12) {
				if r := allow(t, none, "k", n%10+1); r != refused {
					t.Fatalf("%v, a limit of 0: %+v", a, r)
				}
				if r := allow(t, staff, "k", 1+n*1_000_000_000_000); r != admitted {
					t.Fatalf("%v, unlimited: %+v", a, r)
				}
			}
			for plan, want := range map[*ratelimit.Limiter]ratelimit.Result{none: refused, staff: admitted} {
				if r, err := plan.Peek(t.Context(), "k"); r != want || err != nil {
					t.Errorf("%v, peek: %+v, %v", a, r, err)
				}
				if err := errors.Join(plan.Refund(t.Context(), "k", 1), plan.Reset(t.Context(), "k")); err != nil {
					t.Errorf("%v: %v", a, err)
				}
				if _, err := plan.AllowN(t.Context(), "k", 0); !errors.Is(err, ratelimit.ErrCost) {
					t.Errorf("%v, a cost of 0: %v", a, err)
				}
			}
			if r := allow(t, l, "k", 1); !r.Allowed || r.Remaining != 49 {
				t.Errorf("%v: the plan that counts was charged for the others: %+v", a, r)
			}
			if err := none.Refund(t.Context(), "k", 1); err != nil {
				t.Error(err)
			}
			if r, err := l.Peek(t.Context(), "k"); err != nil || r.Remaining == 50 {
				t.Errorf("%v: a plan that charges nothing gave a token of another plan back: %+v, %v", a, r, err)
			}
		}
	})
}

// Neither a limit of 0 nor Unlimited takes a command, in any method. Both are decided during an
// outage too.
func TestLimitZeroAndUnlimitedAskNoServer(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	l := limiter(t, open(t, server.URL(), "app"), ratelimit.Options{
		// no tokens to lease
		Rules: blocked, Outage: ratelimit.FailClosed, Lease: ratelimit.Lease{Batch: 20},
	})
	staff, err := l.With(free...)
	if err != nil {
		t.Fatal(err)
	}
	before := server.CommandStats()
	ask := func(when string) {
		t.Helper()
		for range 3 {
			if r, err := l.Allow(t.Context(), "k"); r.Allowed || r.Degraded || err != nil {
				t.Errorf("%s: a limit of 0: %+v, %v", when, r, err)
			}
			if r, err := staff.Allow(t.Context(), "k"); !r.Allowed || r.Degraded || err != nil {
				t.Errorf("%s: unlimited: %+v, %v", when, r, err)
			}
		}
		if err := l.Wait(t.Context(), "k"); !errors.Is(err, ratelimit.ErrCost) {
			t.Errorf("%s: Wait with a limit of 0: %v", when, err)
		}
		if err := staff.Wait(t.Context(), "k"); err != nil {
			t.Errorf("%s: Wait without a limit: %v", when, err)
		}
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		if err := staff.Wait(cancelled, "k"); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: Wait with a context that has ended: %v", when, err)
		}
	}
	ask("up")
	for name, n := range server.CommandStats() {
		if slices.Contains([]string{"evalsha", "eval", "evalsha_ro", "eval_ro", "script|load", "get"}, name) && n > before[name] {
			t.Errorf("%d further %s", n-before[name], name)
		}
	}
	server.Kill()
	ask("down")
	if s := l.Stats(); s.RefusedLocally != 8 || s.Unlimited != 8 || s.Allowed+s.Refused+s.Degraded != 0 ||
		s.RefusedByRule["blocked"] != 8 || len(s.TopRefused) != 1 {
		t.Errorf("%+v", s)
	}
}

// A limit of 0 is 429 with q=0 and without Retry-After. A plan without limits announces nothing.
// Next to another plan, only the other plan is announced.
func TestLimitZeroAndUnlimitedInTheMiddleware(t *testing.T) {
	t.Parallel()
	l := limiter(t, shared(t), ratelimit.Options{Rules: []ratelimit.Rule{{Name: "r", Limit: 5,
		Window: 100 * time.Hour}, free[0]}, Outage: ratelimit.FailClosed})
	plans := map[string]*ratelimit.Limiter{"mixed": l}
	var err error
	if plans["blocked"], err = l.With(blocked...); err != nil {
		t.Fatal(err)
	}
	if plans["free"], err = l.With(free...); err != nil {
		t.Fatal(err)
	}
	handler := ratelimit.MiddlewareFor(ratelimit.Header("X-Key"),
		func(r *http.Request) *ratelimit.Limiter { return plans[r.Header.Get("X-Plan")] },
		ratelimit.ResponseCost(func(*http.Request, int, int64) int64 { return 2 }))(ok)
	get := func(plan string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("X-Key", "k")
		r.Header.Set("X-Plan", plan)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w
	}

	w := get("blocked")
	got := fields(t, w.Header())
	if p := got["blocked"]; w.Code != 429 || len(w.Header().Values("Retry-After")) > 0 || p["q"] != 0 ||
		p["w"] != 3600 || p["r"] != 0 || len(p) != 3 || got["50/1h"]["q"] != 50 {
		t.Errorf("a limit of 0: %d %v %s", w.Code, w.Header(), w.Body)
	}
	if w := get("free"); w.Code != 200 || len(w.Header()) != 0 {
		t.Errorf("unlimited: %d %v", w.Code, w.Header())
	}
	w = get("mixed")
	if got := fields(t, w.Header()); w.Code != 200 || len(got) != 1 || got["r"]["r"] != 4 {
		t.Errorf("a limit next to Unlimited: %d %v", w.Code, w.Header())
	}
	rig.Eventually(t, 10*time.Second, "the response of the plan that counts to be charged, and no other", func() bool {
		return l.Stats().Allowed == 2
	})
	if w := get("mixed"); fields(t, w.Header())["r"]["r"] != 1 {
		t.Errorf("after a request of 3 tokens: %v", w.Header())
	}
}

// Outgoing requests of a plan with a limit of 0 fail immediately. Requests of a plan without limits
// do not wait.
func TestLimitZeroAndUnlimitedOutgoing(t *testing.T) {
	t.Parallel()
	peer := httptest.NewServer(ok)
	defer peer.Close()
	l := limiter(t, shared(t), ratelimit.Options{Rules: blocked, Outage: ratelimit.FailClosed})
	staff, err := l.With(free...)
	if err != nil {
		t.Fatal(err)
	}
	get := func(l *ratelimit.Limiter) error {
		client := &http.Client{Transport: l.Transport(peer.Client().Transport, nil)}
		answer, err := client.Get(peer.URL)
		if err != nil {
			return err
		}
		return answer.Body.Close()
	}
	if err := get(l); !errors.Is(err, ratelimit.ErrCost) {
		t.Errorf("a limit of 0: %v", err)
	}
	for range 20 {
		if err := get(staff); err != nil {
			t.Fatal(err)
		}
	}
}
