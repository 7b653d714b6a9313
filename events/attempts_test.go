package events_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// A handler's MaxAttempts and Backoff hold for its events, and the subscriber's for the events of
// other handlers, in whatever way an attempt fails.
func TestE3_AttemptsOfOneHandler(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		bus := durable(t, open(t, e.URL, e.Namespace), events.DurableOptions{Partitions: 1})
		sub := subscriber(t, bus, "g", events.SubscriberOptions{MaxAttempts: 3, Backoff: soon})
		var mu sync.Mutex
		attempts, asked := map[string][]int{}, map[string]int{}
		fail := func(how func() error) func(context.Context, events.Event[note]) error {
			return func(_ context.Context, e events.Event[note]) error {
				mu.Lock()
				attempts[e.Channel] = append(attempts[e.Channel], e.Attempt)
				mu.Unlock()
				return how()
			}
		}
		backoff := func(name string) events.HandleOption {
			return events.Backoff(func(int) time.Duration {
				mu.Lock()
				defer mu.Unlock()
				asked[name]++
				return 10 * time.Millisecond
			})
		}
		no := func() error { return errors.New("no") }
		must(t, notes.Handle(sub, "once", fail(no), events.MaxAttempts(1)))
		must(t, notes.Handle(sub, "five", fail(no), events.MaxAttempts(5), backoff("five")))
		must(t, notes.Handle(sub, "panics", fail(func() error { panic("no") }), events.MaxAttempts(2), backoff("panics")))
		must(t, notes.Handle(sub, "exits", fail(func() error { runtime.Goexit(); return nil }), events.MaxAttempts(2)))
		must(t, notes.Handle(sub, "others", fail(no)))
		must(t, notes.Handle(sub, "*", func(context.Context, events.Event[note]) error { return nil },
			events.MaxAttempts(events.NoMaxAttempts)))
		run(t, sub)
		for _, channel := range []string{"once", "five", "panics", "exits", "others"} {
			must(t, notes.Publish(t.Context(), bus, channel, note{}))
		}
		dead := bus.DeadLetters("g")
		rig.Eventually(t, 20*time.Second, "five dead letters",
			func() bool { n, err := dead.Count(t.Context()); return err == nil && n == 5 })
		mu.Lock()
		defer mu.Unlock()
		for channel, n := range map[string]int{"once": 1, "five": 5, "panics": 2, "exits": 2, "others": 3} {
			if got := attempts[channel]; len(got) != n || got[n-1] != n {
				t.Errorf("%s: attempts %v, want %d", channel, got, n)
			}
		}
		if asked["five"] != 5 || asked["panics"] != 2 {
			t.Errorf("the handlers' backoffs were asked %v times", asked)
		}
	})
}

// An attempt that ended with its process counts for the handler's own limit. With MaxAttempts of 1,
// the handler is not called again.
func TestE3_AttemptsOfOneHandlerWhenTheOwnerDies(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		opts := events.DurableOptions{Partitions: 1, Lease: time.Second}
		var called atomic.Int32
		hang := make(chan struct{})
		start := func(name string) (*events.Durable, *redstart.Client) {
			client := open(t, e.URL, e.Namespace)
			bus := durable(t, client, opts)
			sub := subscriber(t, bus, "g", events.SubscriberOptions{Backoff: soon, DrainTimeout: time.Millisecond})
			must(t, notes.Handle(sub, "a", func(context.Context, events.Event[note]) error {
				if called.Add(1) == 1 {
					<-hang
				}
				return nil
			}, events.MaxAttempts(1)))
			run(t, sub)
			return bus, client
		}
		first, _ := start("first")
		t.Cleanup(func() { close(hang) })
		must(t, notes.Publish(t.Context(), first, "a", note{}))
		rig.Eventually(t, 10*time.Second, "the handler", func() bool { return called.Load() == 1 })
		taken := first.StealLease(t.Context(), "g", "a") // as if the owner were dead
		must(t, taken)
		second, _ := start("second")
		rig.Eventually(t, 20*time.Second, "a dead letter",
			func() bool { n, err := second.DeadLetters("g").Count(t.Context()); return err == nil && n == 1 })
		letters, err := second.DeadLetters("g").List(t.Context(), "", 1)
		must(t, err)
		if called.Load() != 1 || letters[0].Attempts != 1 || !strings.Contains(letters[0].Cause, "died") {
			t.Errorf("%d calls, %+v", called.Load(), letters)
		}
	})
}

func TestHandleOptionsAreChecked(t *testing.T) {
	t.Parallel()
	bus := durable(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), events.DurableOptions{})
	sub := subscriber(t, bus, "g", events.SubscriberOptions{})
	nothing := func(context.Context, events.Event[note]) error { return nil }
	for name, opt := range map[string]events.HandleOption{"zero": events.MaxAttempts(0),
		"negative": events.MaxAttempts(-2), "nil": events.Backoff(nil)} {
		if err := notes.Handle(sub, "*", nothing, opt); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Middleware wraps every handler, the first one outermost, on both kinds of bus. It sees the event,
// and the handler receives the event that it passes on.
func TestMiddlewareRunsInOrder(t *testing.T) {
	t.Parallel()
	buses(t, nil, func(t *testing.T, _ *redstart.Client, bus events.Bus) {
		type key struct{}
		sub := subscriber(t, bus, "g", events.SubscriberOptions{})
		steps := make(chan string, 20)
		trace := func(name string) events.Middleware {
			return func(next events.Handler) events.Handler {
				return func(ctx context.Context, e events.Event[json.RawMessage]) error {
					steps <- fmt.Sprintf("%s %s %s %s %d", name, e.Type, e.Channel, e.Data, e.Attempt)
					e.Data = json.RawMessage(strings.Replace(string(e.Data), "1", "2", 1))
					err := next(context.WithValue(ctx, key{}, name), e)
					steps <- fmt.Sprint(name, " ", err)
					return nil
				}
			}
		}
		must(t, sub.Use(trace("outer"), trace("inner")))
		must(t, notes.Handle(sub, "*", func(ctx context.Context, e events.Event[note]) error {
			steps <- fmt.Sprint("handler ", e.Data.N, " ", ctx.Value(key{}))
			return errors.New("failed")
		}))
		run(t, sub)
		must(t, notes.Publish(t.Context(), bus, "a", note{N: 1}))
		want := []string{`outer note a {"n":1} 1`, `inner note a {"n":2} 1`, "handler 2 inner", "inner failed", "outer <nil>"}
		var got []string
		for range want {
			got = append(got, arrives(t, "a step", steps))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		rig.Eventually(t, 10*time.Second, "the event is handled: the middleware hid the error",
			func() bool { return sub.Stats().Handled == 1 })
	})
}

// A middleware that panics, exits or does not call the handler has the same effect as such a
// handler.
func TestMiddlewareIsContained(t *testing.T) {
	t.Parallel()
	buses(t, nil, func(t *testing.T, _ *redstart.Client, bus events.Bus) {
		var outcome, called atomic.Int32
		sub := subscriber(t, bus, "g", oneAttempt(bus, events.SubscriberOptions{Concurrency: 1}))
		must(t, sub.Use(func(next events.Handler) events.Handler {
			return func(ctx context.Context, e events.Event[json.RawMessage]) error {
				switch e.Channel {
				case "panics":
					panic("in the middleware")
				case "exits":
					runtime.Goexit()
				case "skips":
					outcome.Add(1)
					return nil
				}
				return next(ctx, e)
			}
		}))
		must(t, notes.Handle(sub, "*", func(context.Context, events.Event[note]) error { called.Add(1); return nil }))
		run(t, sub)
		for _, channel := range []string{"panics", "exits", "skips", "calls"} {
			must(t, notes.Publish(t.Context(), bus, channel, note{}))
		}
		rig.Eventually(t, 10*time.Second, "four events", func() bool { s := sub.Stats(); return s.Failed == 2 && s.Handled == 2 })
		if outcome.Load() != 1 || called.Load() != 1 {
			t.Errorf("%d skipped, %d handled", outcome.Load(), called.Load())
		}
		if err := sub.Use(func(next events.Handler) events.Handler { return next }); !errors.Is(err, events.ErrRunning) {
			t.Errorf("Use while it runs: %v", err)
		}
	})
}

// A middleware that panics when it wraps, or that returns no handler, makes Run fail. It does not
// end the process.
func TestMiddlewareThatCannotWrap(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]events.Middleware{
		"nil handler": func(events.Handler) events.Handler { return nil },
		"panic":       func(events.Handler) events.Handler { panic("no") },
	} {
		bus := durable(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), events.DurableOptions{})
		sub := subscriber(t, bus, "g", events.SubscriberOptions{})
		must(t, sub.Use(broken))
		must(t, notes.Handle(sub, "*", func(context.Context, events.Event[note]) error { return nil }))
		if err := sub.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "middleware") {
			t.Errorf("%s: Run: %v", name, err)
		}
		if err := sub.Use(nil); err == nil {
			t.Error("Use(nil) returned nil")
		}
	}
}
