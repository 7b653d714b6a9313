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

// A server that loses its last writes, as in a failover, may lose that events were parked behind a
// retry. Their owner has forgotten them, and a later event of the channel must not overtake them.
func TestE4_LostWritesKeepOrder(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	const early = 5
	server := rig.Standalone(t)
	client := open(t, server.URL(), rig.Prefix(t))
	bus := durable(t, client, events.DurableOptions{Partitions: 1})
	var failures atomic.Int64
	sub := subscriber(t, bus, "g", events.SubscriberOptions{Start: events.FromBeginning(),
		Backoff: func(int) time.Duration {
			if failures.Add(1) == 1 {
				return time.Hour
			}
			return time.Millisecond // the new owner sees an attempt that did not end
		}})
	started, fail := make(chan struct{}, 1), make(chan struct{})
	got := newLog()
	must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error {
		if e.Data.N == 0 && e.Attempt == 1 {
			started <- struct{}{}
			<-fail
			return errors.New("once")
		}
		got.add(e.Channel, e.Data.N)
		return nil
	}))
	for n := range early {
		must(t, notes.Publish(t.Context(), bus, "a", note{N: n}))
	}
	run(t, sub)
	<-started
	rig.Eventually(t, 10*time.Second, "the events are read", func() bool { return sub.Stats().Held == early })
	server.CLI("SAVE") // the state that comes back: the events were read and are not parked
	close(fail)
	rig.Eventually(t, 10*time.Second, "the events are parked", func() bool { return sub.Stats().Waiting == early })

	if reply := server.CLI("DEBUG", "RELOAD", "NOSAVE"); !strings.Contains(reply, "OK") { // no call fails
		t.Fatal(reply)
	}
	must(t, notes.Publish(t.Context(), bus, "a", note{N: early}))
	rig.Eventually(t, time.Minute, "the last event", func() bool { return slices.Contains(got.of("a"), early) })
	got.inOrder(t, "a", early+1)
}
