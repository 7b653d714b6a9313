package events_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// A partition and its channels' queues go through their states: quick and failing channels, a
// fetched body, a pause that waits for a handler, a deleted group, and the end of Run. CheckStates
// compares each change with the note.
func TestStates(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	client := open(t, server.URL(), rig.Prefix(t))
	bus, err := events.NewDurable(client, "bus", events.DurableOptions{Partitions: 1, MaxBytes: 8 << 20})
	must(t, err)
	seen := bus.CheckStates(t.Errorf)
	got := newLog()
	sub := subscriber(t, bus, "g", events.SubscriberOptions{Concurrency: 1, Backoff: soon})
	started, release := make(chan struct{}, 1), make(chan struct{})
	must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error {
		switch {
		case e.Channel == "failing" && e.Attempt == 1:
			return errors.New("once")
		case e.Channel == "held":
			started <- struct{}{}
			<-release
		}
		got.add(e.Channel, e.Data.N)
		return nil
	}))
	stop := run(t, sub)

	for n := range 200 {
		must(t, notes.Publish(t.Context(), bus, "failing", note{N: n}))
		must(t, notes.Publish(t.Context(), bus, "quick", note{N: n}))
	}
	must(t, notes.Publish(t.Context(), bus, "large", note{N: 0, Text: strings.Repeat("x", 3<<20)}))
	must(t, notes.Publish(t.Context(), bus, "large", note{N: 1, Text: strings.Repeat("x", 3<<20)}))
	got.inOrder(t, "failing", 200)
	got.inOrder(t, "quick", 200)
	got.inOrder(t, "large", 2)

	must(t, notes.Publish(t.Context(), bus, "held", note{}))
	<-started
	for n := range 10 {
		must(t, notes.Publish(t.Context(), bus, "waiting", note{N: n}))
	}
	must(t, bus.Pause(t.Context(), "g"))
	rig.Eventually(t, 10*time.Second, "the pause", func() bool { return sub.Stats().Paused })
	must(t, bus.Resume(t.Context(), "g"))
	rig.Eventually(t, 10*time.Second, "the end of the pause", func() bool { return !sub.Stats().Paused })
	close(release)
	got.inOrder(t, "waiting", 10)

	server.CLI("XGROUP", "DESTROY", bus.StreamOf("a"), "g")
	var next atomic.Int64
	rig.Eventually(t, 20*time.Second, "an event of the new group", func() bool {
		must(t, notes.Publish(t.Context(), bus, "after", note{N: int(next.Add(1)) - 1}))
		return len(got.of("after")) > 0
	})
	stop()

	rows := seen()
	slices.Sort(rows)
	for _, want := range []string{
		"stage idle queued", "stage queued slotted", "stage slotted runnable", "stage idle runnable",
		"stage runnable running", "stage running slotted",
		"stage running stopped", "stage stopped removed", "stage slotted removed",
		"request nothing wanted", "request wanted fetching", "request fetching nothing", "request wanted counting",
		"request counting nothing",
		"phase reading caughtUp", "phase caughtUp armed", "phase draining reading",
	} {
		if !slices.Contains(rows, want) {
			t.Errorf("the change %q was not seen; seen are %q", want, rows)
		}
	}
	for _, phase := range []string{"draining", "resetting", "stopping", "over"} {
		if !slices.ContainsFunc(rows, func(row string) bool { return strings.HasPrefix(row, "phase") && strings.HasSuffix(row, phase) }) {
			t.Errorf("the phase %s was not seen; seen are %q", phase, rows)
		}
	}
}
