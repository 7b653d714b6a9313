package events_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// A consumer that joins does not stop the quick channels of partitions with a long handler. It gets
// its share when the long handlers have ended.
func TestAJoiningConsumerStallsNoChannel(t *testing.T) {
	rig.Need(t, rig.TierAll)
	t.Parallel()
	const partitions = 4
	server, namespace := rig.Shared(t), rig.Prefix(t)
	opts := events.DurableOptions{Partitions: partitions, Lease: 2 * time.Second}
	bus := durable(t, open(t, server.URL(), namespace), opts)
	release, started, handled := make(chan struct{}), make(chan struct{}, partitions), make(chan int, 1000)
	member := func() *events.Subscriber {
		sub := subscriber(t, durable(t, open(t, server.URL(), namespace), opts), "g", events.SubscriberOptions{})
		must(t, notes.Handle(sub, "long:*", func(ctx context.Context, _ events.Event[note]) error {
			started <- struct{}{}
			select {
			case <-release:
			case <-ctx.Done():
			}
			return ctx.Err()
		}))
		must(t, notes.Handle(sub, "quick:*", func(_ context.Context, e events.Event[note]) error { handled <- e.Data.N; return nil }))
		return sub
	}
	first := member()
	run(t, first)
	quick := channelOfEach(bus, "quick:", partitions)
	for _, channel := range channelOfEach(bus, "long:", partitions) {
		must(t, notes.Publish(t.Context(), bus, channel, note{}))
		<-started
	}

	n := 0
	longest := func(d time.Duration) time.Duration {
		var took []time.Duration
		for end := time.Now().Add(d); time.Now().Before(end); n++ {
			began := time.Now()
			must(t, notes.Publish(t.Context(), bus, quick[n%partitions], note{N: n}))
			arrives(t, "a quick event", handled)
			took = append(took, time.Since(began))
		}
		return slices.Max(took)
	}
	const period = 3 * time.Second // seven heartbeats
	control := longest(period)
	second := member()
	run(t, second)
	joining := longest(period)
	t.Logf("the longest wait of a quick event: %v, %v while a consumer joins", control, joining)
	if joining > 4*control+200*time.Millisecond {
		t.Errorf("a quick event waited %v while a consumer joined, %v before", joining, control)
	}

	close(release)
	rig.Eventually(t, 20*time.Second, "equal shares after the long handlers", func() bool {
		return first.Stats().Partitions == partitions/2 && second.Stats().Partitions == partitions/2
	})
}

// channelOfEach returns one channel of each partition.
func channelOfEach(bus *events.Durable, prefix string, partitions int) []string {
	all := make([]string, partitions)
	for i, missing := 0, partitions; missing > 0; i++ {
		c := fmt.Sprint(prefix, i)
		if p := bus.PartitionOf(c); all[p] == "" {
			all[p] = c
			missing--
		}
	}
	return all
}
