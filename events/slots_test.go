package events_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// A poll that gets no reply keeps no slot: the channels of other partitions do not wait for it.
func TestE7_SilentPartitionKeepsNoSlot(t *testing.T) {
	t.Parallel()
	bus := durable(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), events.DurableOptions{Partitions: 2, Lease: 8 * time.Second})
	sub, got := counting(t, bus, nil)
	run(t, sub)
	channels := channelOfEach(bus, "c", 2)
	for _, channel := range channels {
		must(t, notes.Publish(t.Context(), bus, channel, note{}))
		got.inOrder(t, channel, 1)
	}
	rig.Eventually(t, 10*time.Second, "the acknowledgements", func() bool {
		g, err := bus.Group(t.Context(), "g")
		return err == nil && g.Drained()
	})

	held, release := make(chan struct{}), make(chan struct{})
	rig.ArmOnce(t, bus.Points(), "polling", "0", func() {
		close(held)
		<-release
	})
	defer close(release)
	must(t, notes.Publish(t.Context(), bus, channels[0], note{N: 1}))
	arrives(t, "a poll of the first partition", held)
	must(t, notes.Publish(t.Context(), bus, channels[1], note{N: 1}))
	got.inOrder(t, channels[1], 2)
}

// Partitions that read at the same time start queues beyond the number of slots, and no handlers
// beyond Concurrency.
func TestConcurrencyBoundsHandlersOfAllPartitions(t *testing.T) {
	t.Parallel()
	const partitions, each = 16, 8
	bus := durable(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), events.DurableOptions{Partitions: partitions})
	var running, overlaps, handled atomic.Int64
	sub := subscriber(t, bus, "g", events.SubscriberOptions{Concurrency: 1, Start: events.FromBeginning()})
	must(t, notes.Handle(sub, "*", func(context.Context, events.Event[note]) error {
		if running.Add(1) > 1 {
			overlaps.Add(1)
		}
		runtime.Gosched() // another handler may start here
		running.Add(-1)
		handled.Add(1)
		return nil
	}))
	for n := range partitions * each {
		must(t, notes.Publish(t.Context(), bus, fmt.Sprint("c", n), note{N: n}))
	}
	run(t, sub)
	rig.Eventually(t, 20*time.Second, "all events", func() bool { return handled.Load() == partitions*each })
	if n := overlaps.Load(); n > 0 {
		t.Errorf("%d handlers started next to another one, Concurrency is 1", n)
	}
}
