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

// A channel that is 10,000 events behind does not delay other channels of its partition, whether
// its handler hangs or takes 10 ms per event. Their p99 is at most twice the p99 of channels in
// another partition of the same subscriber, in alternating order. An interrupted process makes a
// long p99, so the test makes up to three rounds. A channel that takes the room of others fails in
// each round.
func TestE4_LongChannelLeavesRoom(t *testing.T) {
	rig.Need(t, rig.TierAll)
	t.Parallel()
	for name, each := range map[string]time.Duration{"hangs": time.Hour, "10 ms": 10 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLongChannel(t, 10_000, each)
			const rounds = 3
			for round := range rounds {
				next, other := l.measure(t, 1000)
				t.Logf("%d events wait: next to them p50 %v, p99 %v; in another partition p50 %v, p99 %v", l.sub.Stats().Waiting,
					quantile(next, 0.5), quantile(next, 0.99), quantile(other, 0.5), quantile(other, 0.99))
				if quantile(next, 0.99) <= 2*quantile(other, 0.99) && quantile(next, 0.5) <= 2*quantile(other, 0.5) {
					return
				}
				if round == rounds-1 {
					t.Errorf("in each of %d rounds channels next to a long one took more than twice as long as others", rounds)
				}
			}
		})
	}
}

// longChannel has a partition with a channel that is far behind, and one without such a channel.
type longChannel struct {
	bus         *events.Durable
	sub         *events.Subscriber
	next, other []string // channels in each partition
	handled     chan int
}

func newLongChannel(t *testing.T, behind int, each time.Duration) *longChannel {
	t.Helper()
	const workers, channels = 4, 8
	client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
	l := &longChannel{handled: make(chan int, 1), bus: durable(t, client, events.DurableOptions{Partitions: 2})}
	for i := 0; len(l.next) < channels || len(l.other) < channels; i++ {
		switch channel := fmt.Sprint("quick:", i); {
		case l.bus.PartitionOf(channel) == l.bus.PartitionOf("slow"):
			l.next = append(l.next, channel)
		default:
			l.other = append(l.other, channel)
		}
	}
	l.sub = subscriber(t, l.bus, "g", events.SubscriberOptions{Concurrency: workers, Start: events.FromBeginning()})
	must(t, notes.Handle(l.sub, "slow", func(ctx context.Context, _ events.Event[note]) error {
		select {
		case <-time.After(each):
		case <-ctx.Done():
		}
		return ctx.Err()
	}))
	must(t, notes.Handle(l.sub, "quick:*", func(_ context.Context, e events.Event[note]) error { l.handled <- e.Data.N; return nil }))
	publishMany(t, client, l.bus, "slow", 0, behind)
	stop := run(t, l.sub)
	t.Cleanup(stop)
	rig.Eventually(t, 30*time.Second, "the long channel is on the server",
		func() bool { return l.sub.Stats().Waiting >= int64(behind)*8/10 })
	return l
}

// measure publishes n events to the channels of each partition, alternating, and returns the sorted
// times until they were handled.
func (l *longChannel) measure(t *testing.T, n int) (next, other []time.Duration) {
	t.Helper()
	one := func(channels []string, n int) time.Duration {
		began := time.Now()
		must(t, notes.Publish(t.Context(), l.bus, channels[n%len(channels)], note{N: n}))
		select {
		case <-l.handled:
		case <-time.After(20 * time.Second):
			t.Fatalf("event %d of %s waited 20 s: %+v", n, channels[n%len(channels)], l.sub.Stats())
		}
		return time.Since(began)
	}
	for i := range n {
		next, other = append(next, one(l.next, i)), append(other, one(l.other, i))
	}
	slices.Sort(next)
	slices.Sort(other)
	return next, other
}

// quantile returns a quantile of sorted times.
func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
