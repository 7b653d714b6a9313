package events_test

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

type brokenError struct{ text *string }

func (e *brokenError) Error() string { return *e.text }

// User code that panics, exits its goroutine or returns a typed nil is a failed attempt. Its
// channel and all other channels continue.
func TestE3_UserCodeCannotEndTheSubscriber(t *testing.T) {
	t.Parallel()
	faults := map[string]func(error) error{
		"panic":            func(error) error { panic("handler") },
		"Goexit":           func(error) error { runtime.Goexit(); return nil },
		"typed nil":        func(error) error { return (*brokenError)(nil) },
		"Error panics":     func(error) error { return &brokenError{} },
		"an error":         func(err error) error { return err },
		"discard of panic": func(error) error { return events.Discard(&brokenError{}) },
	}
	backoffs := map[string]func(int) time.Duration{
		"soon":                  soon,
		"a Backoff that panics": func(int) time.Duration { panic("backoff") },
		"a Backoff that exits":  func(int) time.Duration { runtime.Goexit(); return 0 },
	}
	for backoffName, backoff := range backoffs {
		t.Run(backoffName, func(t *testing.T) {
			t.Parallel()
			bus := durable(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), events.DurableOptions{Partitions: 2})
			sub := subscriber(t, bus, "g", events.SubscriberOptions{MaxAttempts: 2, Concurrency: 2, Backoff: backoff,
				OnError: func(context.Context, events.Event[[]byte], error) { panic("OnError") }})
			got := newLog()
			must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error {
				if e.Attempt < 1 {
					t.Errorf("attempt %d", e.Attempt)
				}
				if fault := faults[e.Channel]; fault != nil && e.Data.N == 0 {
					return fault(errors.New("cause"))
				}
				got.add(e.Channel, e.Data.N)
				return nil
			}))
			run(t, sub)
			for n := range 2 {
				for channel := range faults {
					must(t, notes.Publish(t.Context(), bus, channel, note{N: n}))
				}
			}
			for channel := range faults {
				rig.Eventually(t, 20*time.Second, "the event behind "+channel, func() bool { return len(got.of(channel)) == 1 })
			}
			// the next event of a channel may be handled before the server has the last dead letter
			rig.Eventually(t, 20*time.Second, "all dead letters are stored", func() bool {
				n, err := bus.DeadLetters("g").Count(t.Context())
				return err == nil && n == len(faults)
			})
		})
	}
}

// A Backoff that calls runtime.Goexit does not end the consumer of a partition that is taken over.
// The event that the last owner has begun is retried after the default delay.
func TestE3_BackoffThatExitsAtATakeOver(t *testing.T) {
	t.Parallel()
	bus := durable(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), events.DurableOptions{Partitions: 1, Lease: time.Second})
	sub := subscriber(t, bus, "g", events.SubscriberOptions{Backoff: func(int) time.Duration { runtime.Goexit(); return 0 }})
	got, started := newLog(), make(chan struct{}, 1)
	must(t, notes.Handle(sub, "*", func(ctx context.Context, e events.Event[note]) error {
		if e.Attempt == 1 {
			started <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		}
		got.add(e.Channel, e.Data.N)
		return nil
	}))
	run(t, sub)
	must(t, notes.Publish(t.Context(), bus, "a", note{}))
	<-started
	must(t, bus.StealLease(t.Context(), "g", "a"))
	got.inOrder(t, "a", 1)
}

// An event with an attempt that was counted in advance is handled, although the handler of the
// event before it has ended its goroutine.
func TestE3_GoexitLeavesWhatHasBegun(t *testing.T) {
	t.Parallel()
	bus := durable(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), events.DurableOptions{Partitions: 1, Lease: time.Second})
	sub := subscriber(t, bus, "g", events.SubscriberOptions{MaxAttempts: 2, Backoff: soon})
	got := newLog()
	must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error {
		switch {
		case e.Data.N == 0 && e.Attempt == 1:
			return errors.New("once")
		case e.Data.N == 0:
			first, _, err := bus.Polls(t.Context(), "g", "a")
			must(t, err)
			rig.Eventually(t, 10*time.Second, "a poll that counts the next event", func() bool {
				n, _, err := bus.Polls(t.Context(), "g", "a")
				return err == nil && n >= first+2
			})
			runtime.Goexit()
		}
		got.add(e.Channel, e.Data.N)
		return nil
	}))
	run(t, sub)
	for n := range 2 {
		must(t, notes.Publish(t.Context(), bus, "a", note{N: n}))
	}
	rig.Eventually(t, 20*time.Second, "the event behind", func() bool { return len(got.of("a")) == 1 })
}

// One read has an entry of an unknown format, and an ordinary event of the same channel behind it.
// The channel waits. No attempt has the number 0, and the default Backoff does not panic.
func TestE3_UnknownEntryInFront(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	bus := durable(t, open(t, server.URL(), rig.Prefix(t)), events.DurableOptions{Partitions: 1})
	sub := subscriber(t, bus, "g", events.SubscriberOptions{Start: events.FromBeginning()})
	got := newLog()
	must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error {
		if e.Attempt < 1 {
			t.Errorf("attempt %d", e.Attempt)
		}
		got.add(e.Channel, e.Data.N)
		if e.Channel == "a" {
			return errors.New("again")
		}
		return nil
	}))
	server.CLI("XADD", bus.StreamOf("a"), "*", "c", "a", "e9", "of the future")
	must(t, notes.Publish(t.Context(), bus, "a", note{N: 0}))
	must(t, notes.Publish(t.Context(), bus, "b", note{N: 0}))
	run(t, sub)
	got.inOrder(t, "b", 1)
	rig.Eventually(t, 10*time.Second, "both wait", func() bool { return sub.Stats().Parked == 2 })
	if all := got.of("a"); len(all) != 0 {
		t.Errorf("%v ran before the entry in front of it", all)
	}
	if s := sub.Stats(); s.Failed != 0 || s.DeadLettered != 0 {
		t.Errorf("the entry of an unknown format cost an attempt: %+v", s)
	}
	for _, attempt := range []int{-1, 0, 1, 31, 64, 1 << 30} {
		if d := events.Exponential(time.Second, time.Minute)(attempt); d < 0 || d > 72*time.Second {
			t.Errorf("Exponential(%d) is %v", attempt, d)
		}
	}
}

// An OnGap that panics or exits does not prevent later calls.
func TestE5_OnGapMayPanic(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	bus := durable(t, open(t, server.URL(), rig.Prefix(t)), events.DurableOptions{Partitions: 1, Lease: time.Second})
	var gaps atomic.Int32
	sub, got := counting(t, bus, func(events.Gap) {
		switch gaps.Add(1) {
		case 1:
			panic("OnGap")
		case 2:
			runtime.Goexit()
		}
	})
	run(t, sub)
	for n := range 3 {
		server.CLI("DEL", bus.StreamOf("a"))
		rig.Eventually(t, 20*time.Second, "a gap", func() bool { return int(gaps.Load()) > n })
	}
	publishUntil(t, bus, "a", 0)
	got.inOrder(t, "a", 1)
}

// RetryAfter sets the time of the next attempt. HandlerTimeout ends an attempt with its cause.
func TestE3_RetryAfterAndHandlerTimeout(t *testing.T) {
	t.Parallel()
	bus := durable(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), events.DurableOptions{Partitions: 1})
	failures := make(chan error, 10)
	sub := subscriber(t, bus, "g", events.SubscriberOptions{MaxAttempts: 2,
		HandlerTimeout: 50 * time.Millisecond, Backoff: func(int) time.Duration { return time.Hour },
		OnError: func(_ context.Context, e events.Event[[]byte], err error) {
			if e.Channel == "hung" {
				failures <- err
			}
		}})
	times := make(chan time.Time, 2)
	must(t, notes.Handle(sub, "*", func(ctx context.Context, e events.Event[note]) error {
		if e.Channel == "hung" {
			<-ctx.Done()
			return ctx.Err()
		}
		times <- time.Now()
		return events.RetryAfter(errors.New("busy"), 300*time.Millisecond)
	}))
	run(t, sub)
	must(t, notes.Publish(t.Context(), bus, "a", note{}))
	first, second := arrives(t, "the first attempt", times), arrives(t, "the second attempt", times)
	if d := second.Sub(first); d < 300*time.Millisecond {
		t.Errorf("the second attempt came after %v, RetryAfter said 300 ms", d)
	}
	must(t, notes.Publish(t.Context(), bus, "hung", note{}))
	if err := arrives(t, "the failure", failures); !errors.Is(err, events.ErrHandlerTimeout) {
		t.Errorf("the hung handler failed with %v, want ErrHandlerTimeout", err)
	}
}
