package events_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// A paused group starts no handler in any process, within a heartbeat and a call. Running handlers
// finish. New events are kept in order, and no attempt is counted. Resume continues all processes.
func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		const channels, each = 6, 40
		opts := events.DurableOptions{Lease: time.Second}
		got := newLog()
		var started, finished atomic.Int64
		var paused atomic.Bool
		gate := make(chan struct{})
		var subs []*events.Subscriber
		var bus *events.Durable
		for range 2 {
			bus = durable(t, open(t, e.URL, e.Namespace), opts)
			sub := subscriber(t, bus, "g", events.SubscriberOptions{Concurrency: 2})
			must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error {
				if paused.Load() || e.Attempt != 1 {
					t.Errorf("attempt %d of %s %d starts, paused %v", e.Attempt, e.Channel, e.Data.N, paused.Load())
				}
				started.Add(1)
				<-gate
				got.add(e.Channel, e.Data.N)
				finished.Add(1)
				return nil
			}))
			run(t, sub)
			subs = append(subs, sub)
		}
		publish := func(from, to int) {
			for n := from; n < to; n++ {
				for c := range channels {
					must(t, notes.Publish(t.Context(), bus, string(rune('a'+c)), note{N: n}))
				}
			}
		}
		publish(0, each/2)
		rig.Eventually(t, 10*time.Second, "handlers in both processes", func() bool { return started.Load() == 4 })
		must(t, bus.Pause(t.Context(), "g"))
		rig.Eventually(t, 10*time.Second, "both processes know", func() bool { return subs[0].Stats().Paused && subs[1].Stats().Paused })
		paused.Store(true)
		close(gate)
		rig.Eventually(t, 10*time.Second, "all partitions given back", func() bool {
			return finished.Load() == 4 && subs[0].Stats().Partitions+subs[1].Stats().Partitions == 0
		})
		publish(each/2, each)
		group, err := bus.Group(t.Context(), "g")
		must(t, err)
		if since := time.Since(group.PausedSince); since < 0 || since > time.Minute || group.Lag+group.Pending != channels*each-4 {
			t.Errorf("group %+v", group)
		}
		if finished.Load() != 4 {
			t.Errorf("%d handlers ran, want the 4 that were running", finished.Load())
		}
		paused.Store(false)
		must(t, bus.Resume(t.Context(), "g"))
		for c := range channels {
			got.inOrder(t, string(rune('a'+c)), each)
		}
		if subs[0].Stats().Paused || subs[1].Stats().Paused {
			t.Error("a process is still paused")
		}
	})
}

// A process that starts while its group is paused handles no event, and is ready. Events are kept
// for the group.
func TestPausedBeforeItStarts(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		bus := durable(t, open(t, e.URL, e.Namespace), events.DurableOptions{Lease: time.Second})
		must(t, bus.Pause(t.Context(), "g"))
		must(t, bus.Pause(t.Context(), "g")) // again
		sub, got := counting(t, bus, nil)
		run(t, sub)
		other := subscriber(t, bus, "other", events.SubscriberOptions{})
		seen := newLog()
		must(t, notes.Handle(other, "*", func(_ context.Context, e events.Event[note]) error { seen.add(e.Channel, e.Data.N); return nil }))
		run(t, other)
		for n := range 10 {
			must(t, notes.Publish(t.Context(), bus, "a", note{N: n}))
		}
		seen.inOrder(t, "a", 10) // another group goes on
		if got.total() != 0 || sub.Stats().Partitions != 0 {
			t.Errorf("a paused group handled %d events", got.total())
		}
		must(t, bus.Resume(t.Context(), "g"))
		got.inOrder(t, "a", 10)
		must(t, bus.Resume(t.Context(), "g")) // again
	})
}

// Pause works on a full server. On a dead server it fails, and a process that cannot read the
// change keeps its last state.
func TestPauseWithoutAServer(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	bus := durable(t, openWithin(t, time.Second, server.URL(), "app"), events.DurableOptions{Lease: time.Second})
	server.CLI("CONFIG", "SET", "maxmemory", "1")
	must(t, bus.Pause(t.Context(), "g"))
	group, err := bus.Group(t.Context(), "g")
	if !errors.Is(err, events.ErrNotFound) || group.PausedSince.IsZero() { // no partition has the group yet
		t.Errorf("%+v, %v", group, err)
	}
	must(t, bus.Resume(t.Context(), "g"))
	server.Kill()
	if err := bus.Pause(t.Context(), "g"); err == nil {
		t.Error("Pause returned nil without a server")
	}
	if _, err := bus.Group(t.Context(), "g"); err == nil {
		t.Error("Group returned nil without a server")
	}
	if _, err := bus.Groups(t.Context(), "", 10); err == nil {
		t.Error("Groups returned nil without a server")
	}
	for _, name := range []string{"", string(make([]byte, 200))} {
		if err := bus.Pause(t.Context(), name); err == nil {
			t.Errorf("Pause(%q) returned nil", name)
		}
	}
}
