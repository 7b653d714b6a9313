package events_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// An event that is published right after its consumer has armed the server is handled as soon as an
// event that is published later. The control comes when the connection has been idle for long.
func TestAnArmedConsumerReceivesThePushAtOnce(t *testing.T) {
	t.Parallel()
	server, namespace := rig.Shared(t), rig.Prefix(t)
	bus, err := events.NewDurable(open(t, server.URL(), namespace), "bus", events.DurableOptions{Partitions: 1})
	must(t, err)
	armed, handled := bus.Armed(), make(chan int, 1)
	sub := subscriber(t, bus, "g", events.SubscriberOptions{})
	must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error { handled <- e.Data.N; return nil }))
	run(t, sub)
	producer, err := events.NewDurable(open(t, server.URL(), namespace), "bus", events.DurableOptions{Partitions: 1})
	must(t, err)

	var soon, later []time.Duration
	for i := range 200 {
		arrives(t, "the call that arms the server", armed)
		if i%2 == 1 {
			<-time.After(10 * time.Millisecond)
		}
		began := time.Now()
		must(t, notes.Publish(t.Context(), producer, "users:1", note{N: i}))
		arrives(t, "an event", handled)
		if took := time.Since(began); i%2 == 1 {
			later = append(later, took)
		} else {
			soon = append(soon, took)
		}
	}
	slices.Sort(soon)
	slices.Sort(later)
	t.Logf("medians: at once %v, after a rest %v", soon[50], later[50])
	if soon[50] > 3*later[50] {
		t.Errorf("an event took %v right after arming, want at most 3 times the %v of later events", soon[50], later[50])
	}
}
