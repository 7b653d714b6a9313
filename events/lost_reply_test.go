package events_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// The script of a poll counts an attempt of the event that it starts, and the reply is lost. No
// handler has run, so the event still has its first attempt.
func TestE3_ALostReplyCostsNoAttempt(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	bus := durable(t, open(t, server.URL(), rig.Prefix(t)), events.DurableOptions{Partitions: 1, Lease: 20 * time.Second})
	stream := bus.StreamOf("c")
	sub := subscriber(t, bus, "g", events.SubscriberOptions{MaxAttempts: 2, Backoff: soon})
	handled := make(chan int, 100)
	must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error {
		handled <- e.Attempt
		return nil
	}))
	run(t, sub)

	var armed atomic.Bool
	lost := 0
	rig.Arm(t, bus.Points(), "polled", func(string) error {
		read, _, _ := strings.Cut(server.CLI("XPENDING", stream, "g"), "\n")
		if !armed.Load() || read == "0" { // the poll has read nothing
			return nil
		}
		armed.Store(false)
		lost++
		return errors.New("the reply is lost")
	})
	const rounds = 5
	for n := range rounds {
		armed.Store(true)
		must(t, notes.Publish(t.Context(), bus, "c", note{N: n}))
		if attempt := arrives(t, "an event", handled); attempt != 1 {
			t.Errorf("event %d ran as attempt %d", n, attempt)
		}
		rig.Eventually(t, 20*time.Second, "the acknowledgement", func() bool {
			g, err := bus.Group(t.Context(), "g")
			return err == nil && g.Drained()
		})
	}
	if lost != rounds {
		t.Errorf("%d replies were lost, want %d", lost, rounds)
	}
}
