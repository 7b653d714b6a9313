package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/ratelimit"
)

// The three policies with a stopped server and with a killed one: never a refusal because of the
// outage, never slower than the command timeout, immediate while the breaker is open, and normal
// after the server is back.
func TestR5_OutageIsNotARefusal(t *testing.T) {
	t.Parallel()
	const timeout = 300 * time.Millisecond
	for name, fault := range map[string]struct{ begin, end func(*rig.Server) }{
		"stopped": {(*rig.Server).Stop, (*rig.Server).Continue},
		"killed":  {(*rig.Server).Kill, (*rig.Server).Restart},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := rig.Standalone(t)
			client := open(t, server.URL(), "app", func(c *redstart.Config) { c.CommandTimeout = timeout })
			rules := []ratelimit.Rule{{Name: "r", Limit: 10, Window: year}}
			degraded := map[string]int64{}
			make := func(name string, o ratelimit.Options) *ratelimit.Limiter {
				o.Rules = rules
				l, err := ratelimit.New(client, name, o)
				if err != nil {
					t.Fatal(err)
				}
				// On a busy machine, an answer can take longer than the short timeout.
				rig.Eventually(t, 10*time.Second, "an answer before the outage", func() bool {
					r, err := l.Allow(t.Context(), "k")
					return err == nil && r.Allowed && !r.Degraded
				})
				degraded[name] = l.Stats().Degraded
				return l
			}
			openly := make("open", ratelimit.Options{})
			closed := make("closed", ratelimit.Options{Outage: ratelimit.FailClosed})
			here := make("local", ratelimit.Options{Outage: ratelimit.FailLocal, LocalShare: 0.3})
			spent := make("spent", ratelimit.Options{Outage: ratelimit.FailClosed})

			fault.begin(server)
			for i := range 20 {
				watch := rig.Watch(t)
				r := allow(t, openly, "k", 10)
				if took := watch.Took(); took > timeout+200*time.Millisecond || i >= 10 && took > 100*time.Millisecond {
					t.Errorf("call %d of the outage took %v", i, took)
				}
				if !r.Allowed || !r.Degraded || r.Limit != 10 || r.Rule != "r" {
					t.Errorf("FailOpen: %+v", r)
				}
			}
			if r, err := closed.Allow(t.Context(), "k"); !errors.Is(err, redstart.ErrUnavailable) &&
				!errors.Is(err, redstart.ErrIndeterminate) || r.Allowed || !r.Degraded {
				t.Errorf("FailClosed: %+v, %v", r, err)
			}
			for _, mw := range []struct {
				limiter *ratelimit.Limiter
				code    int
			}{{openly, 200}, {closed, 503}, {here, 200}} {
				w := httptest.NewRecorder()
				handler := mw.limiter.Middleware(ratelimit.By(func(*http.Request) string { return "http" }))(ok)
				handler.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
				if w.Code != mw.code || w.Header().Get("RateLimit") != "" ||
					(w.Code == 503) != (w.Header().Get("Retry-After") != "") {
					t.Errorf("middleware: %d %v, want %d", w.Code, w.Header(), mw.code)
				}
			}
			for i := range 5 { // 0.3 of 10
				r := allow(t, here, "fresh", 1)
				if r.Allowed != (i < 3) || !r.Degraded || r.Limit != 3 || !r.Allowed && r.RetryAfter <= 0 {
					t.Errorf("FailLocal, call %d: %+v", i, r)
				}
			}
			if r, err := here.Peek(t.Context(), "fresh"); err != nil || r.Allowed || !r.Degraded {
				t.Errorf("FailLocal, peek: %+v, %v", r, err)
			}
			// above the share and within the limit: not refused for the whole outage
			if r := allow(t, here, "another", 10); !r.Allowed {
				t.Errorf("FailLocal, a large cost: %+v", r)
			}
			if r, err := openly.Peek(t.Context(), "k"); err != nil || !r.Allowed || !r.Degraded {
				t.Errorf("FailOpen, peek: %+v, %v", r, err)
			}
			if err := openly.Wait(t.Context(), "k"); err != nil {
				t.Errorf("FailOpen, wait: %v", err)
			}
			if err := openly.Reset(t.Context(), "k"); err == nil {
				t.Error("a reset that can't have been done")
			}
			cancelled, cancel := context.WithCancel(t.Context())
			cancel()
			if r, err := openly.Allow(cancelled, "k"); !errors.Is(err, context.Canceled) || r.Allowed {
				t.Errorf("a caller who left: %+v, %v", r, err)
			}
			if s := openly.Stats(); s.Degraded-degraded["open"] != 22 || s.Refused != 0 || s.RefusedLocally != 0 {
				t.Errorf("%+v", s)
			}
			if s := here.Stats(); s.DegradedRefused != 2 {
				t.Errorf("%+v", s)
			}

			fault.end(server)
			rig.Eventually(t, 10*time.Second, "not degraded any more", func() bool {
				r, err := spent.Allow(t.Context(), "k")
				return err == nil && !r.Degraded
			})
			rig.Eventually(t, 10*time.Second, "FailLocal asks Redis again", func() bool {
				r := allow(t, here, "k", 1)
				return r.Allowed && !r.Degraded
			})
		})
	}
}

// The end of a caller's own deadline is its error with every policy, and never an outage: on a
// healthy server it would turn refused requests into admitted ones.
func TestR5_DeadlineOfACallerIsNotAnOutage(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	client := open(t, server.URL(), "app", func(c *redstart.Config) { c.CommandTimeout = 5 * time.Second })
	rules := []ratelimit.Rule{ratelimit.PerHour(10)}
	permits, err := ratelimit.NewConcurrency(client, "c", ratelimit.ConcurrencyOptions{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	limiters := map[string]*ratelimit.Limiter{}
	for name, o := range map[string]ratelimit.Options{
		"FailOpen":        {},
		"FailLocal":       {Outage: ratelimit.FailLocal, LocalShare: 1},
		"FailOpen leased": {Lease: ratelimit.Lease{Batch: 10}},
	} {
		o.Rules = rules
		l, err := ratelimit.New(client, name, o)
		if err != nil {
			t.Fatal(err)
		}
		allow(t, l, "k", 1)
		limiters[name] = l
	}
	server.Stop()
	defer server.Continue()
	for name, l := range limiters {
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			if r, err := l.Allow(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) || r.Allowed {
				t.Errorf("%s: %+v, %v", name, r, err)
			}
			if r, err := l.Peek(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) || r.Allowed {
				t.Errorf("%s, peek: %+v, %v", name, r, err)
			}
			if p, err := permits.Acquire(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a permit: %+v, %v", p, err)
			}
			cancel()
		}
		if s := l.Stats(); s.Degraded != 0 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// Options.Timeout is how long a limiter waits for Redis before its policy decides. It is not an
// error of the caller.
func TestR5_TimeoutOfALimiter(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	client := open(t, server.URL(), "app", func(c *redstart.Config) { c.CommandTimeout = 5 * time.Second })
	rules := []ratelimit.Rule{ratelimit.PerHour(10)}
	openly := limiter(t, client, ratelimit.Options{Rules: rules, Timeout: 30 * time.Millisecond})
	closed := limiter(t, client, ratelimit.Options{Rules: rules, Timeout: 30 * time.Millisecond, Outage: ratelimit.FailClosed})
	if r, err := closed.Allow(t.Context(), "warm"); err != nil {
		t.Logf("%+v, %v: a busy machine", r, err)
	}
	server.Stop()
	defer server.Continue()
	watch := rig.Watch(t)
	if r := allow(t, openly, "k", 1); !r.Allowed || !r.Degraded {
		t.Errorf("FailOpen: %+v", r)
	}
	if r, err := closed.Allow(t.Context(), "k"); errors.Is(err, context.DeadlineExceeded) ||
		!errors.Is(err, redstart.ErrIndeterminate) && !errors.Is(err, redstart.ErrUnavailable) {
		t.Errorf("FailClosed: %+v, %v", r, err)
	}
	if took := watch.Took(); took > 2500*time.Millisecond {
		t.Errorf("took %v, half of a command timeout", took)
	}
}

// If a user's ACL denies the scripts, every call is degraded. This is logged, separately from
// outages.
func TestR5_DeniedIsLogged(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	server.CLI("ACL", "SETUSER", "weak", "on", ">secret", "~*", "&*", "+@all", "-eval", "-evalsha")
	var mu sync.Mutex
	var log strings.Builder
	client := open(t, strings.Replace(server.URL(), "redis://", "redis://weak:secret@", 1), "app", func(c *redstart.Config) {
		c.Logger = slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return log.Write(b)
		}), nil))
	})
	l := limiter(t, client, ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(1)}})
	for range 50 {
		if r := allow(t, l, "k", 1); !r.Allowed || !r.Degraded {
			t.Fatalf("%+v", r)
		}
	}
	if err := client.Close(); err != nil { // after Close, all lines are there
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	lines := strings.Count(log.String(), "denied")
	if lines == 0 || lines > 5 || !strings.Contains(log.String(), "name=api") || strings.Contains(log.String(), "secret") {
		t.Errorf("50 degraded calls were logged as\n%s", log.String())
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// A server answers, but refuses the scripts.
func TestR5_ServerRefuses(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	client := open(t, server.URL(), "app")
	rules := []ratelimit.Rule{ratelimit.PerHour(10)}
	openly := limiter(t, client, ratelimit.Options{Rules: rules})
	closed := limiter(t, client, ratelimit.Options{Rules: rules, Outage: ratelimit.FailClosed})
	allow(t, openly, "k", 1)

	expect := func(what string, class error) {
		t.Helper()
		if r := allow(t, openly, "k", 1); !r.Allowed || !r.Degraded {
			t.Errorf("%s, FailOpen: %+v", what, r)
		}
		if r, err := closed.Allow(t.Context(), "k"); !errors.Is(err, class) || r.Allowed {
			t.Errorf("%s, FailClosed: %+v, %v; want %v", what, r, err, class)
		}
	}
	server.CLI("CONFIG", "SET", "maxmemory", "1")
	expect("out of memory", redstart.ErrFull)
	server.CLI("CONFIG", "SET", "maxmemory", "0")

	server.CLI("DEL", "app:limit:api:{k}")
	server.CLI("LPUSH", "app:limit:api:{k}", "1")
	expect("foreign type", redstart.ErrCorrupt)
	server.CLI("DEL", "app:limit:api:{k}")

	for _, junk := range []string{"", "1", "2", "2abcdef", "hello", "2abcdef78901234567",
		"2abcdef890123456789", strings.Repeat("2", 19), strings.Repeat("2", 1+18*5)} {
		server.CLI("SET", "app:limit:api:{k}", junk)
		if r := allow(t, openly, "k", 1); !r.Allowed || r.Degraded || r.Remaining != 9 {
			t.Errorf("state %q: %+v, want it overwritten", junk, r)
		}
		server.CLI("DEL", "app:limit:api:{k}")
	}

	server.CLI("SCRIPT", "FLUSH")
	if r := allow(t, openly, "k", 1); !r.Allowed || r.Degraded {
		t.Errorf("after SCRIPT FLUSH: %+v", r)
	}
}

// Local state is bounded, keys in use are not pushed out, and further keys share one count.
func TestR5_LocalStateIsBounded(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	client := open(t, server.URL(), "app")
	for _, a := range all {
		l, err := ratelimit.New(client, a.String(), ratelimit.Options{
			Algorithm: a, Outage: ratelimit.FailLocal, LocalShare: 0.5, MaxLocalKeys: 160,
			Rules: []ratelimit.Rule{{Name: "r", Limit: 4, Window: year}, {Name: "wide", Limit: 400, Window: year}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if server.PID() != 0 {
			server.Kill()
			rig.Eventually(t, 5*time.Second, "an outage", func() bool { return allow(t, l, "warm", 1).Degraded })
		}
		victim := 0
		for range 4 {
			if allow(t, l, "victim", 1).Allowed {
				victim++
			}
		}
		admitted := 0
		for i := range 2000 {
			for range 3 {
				if allow(t, l, fmt.Sprint("flood ", i), 1).Allowed {
					admitted++
				}
			}
		}
		if allow(t, l, "victim", 1).Allowed || victim != 2 {
			t.Errorf("%v: the victim had %d of a share of 2, and then more", a, victim)
		}
		if admitted > 2*160+2 || admitted < 2*100 {
			t.Errorf("%v: %d admitted of 2000 keys, with room for 160 of 2 each and one shared count", a, admitted)
		}
		if n := ratelimit.LocalKeysKept(l); n > 160 {
			t.Errorf("%v: %d keys in memory", a, n)
		}
	}
}
