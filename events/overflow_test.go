package events_test

import (
	"context"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// Channels with quick handlers are not parked, however many partitions hold more than half of their
// budget. A parked event costs the server more than twice as much.
func TestQuickHandlersDoNotOverflow(t *testing.T) {
	rig.Need(t, rig.TierAll)
	t.Parallel()
	const partitions, n = 64, 40_000
	client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
	bus := durable(t, client, events.DurableOptions{Partitions: partitions})
	storeSpread(t, client, bus, 0, n)
	sub := subscriber(t, bus, "g", events.SubscriberOptions{Start: events.FromBeginning()})
	must(t, notes.Handle(sub, "*", func(context.Context, events.Event[note]) error { return nil }))
	run(t, sub)
	rig.Eventually(t, time.Minute, "all events", func() bool { return sub.Stats().Handled == n })
	if parked := sub.Stats().Parked; parked > n/10 {
		t.Errorf("%d of %d events went through parked lists", parked, n)
	}
}
