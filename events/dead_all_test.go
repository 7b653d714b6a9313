package events_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// The size of a batch follows from the stored bytes and not from MaxBytes. So RedriveAll of small
// dead letters takes far fewer scripts than Redrive, which does not know their sizes.
func TestRedriveAllCountsStoredBytes(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	server := rig.Standalone(t)
	client := open(t, server.URL(), "app")
	bus := durable(t, client, events.DurableOptions{Partitions: 1, MaxBytes: 1 << 20})
	const n = 60
	kill(t, bus, "mail", n)
	dead := bus.DeadLetters("mail")
	all, err := dead.List(t.Context(), "", n)
	must(t, err)
	ids := make([]string, len(all))
	for i, l := range all {
		ids[i] = l.ID
	}

	run := func(do func() (int, error)) int64 {
		before := server.CommandStats()["evalsha"]
		if got, err := do(); got != n/2 || err != nil {
			t.Fatalf("redriven %d of %d: %v", got, n/2, err)
		}
		return server.CommandStats()["evalsha"] - before
	}
	one := run(func() (int, error) { return dead.Redrive(t.Context(), ids[:n/2]...) })
	together := run(func() (int, error) { return dead.RedriveAll(t.Context()) })
	if together*4 > one {
		t.Errorf("%d scripts for all, %d for the same number of ids", together, one)
	}
}

// RedriveAll ends, although each event that it redrives dies again while it runs.
func TestRedriveAllRedrivesEachOnce(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	bus := durable(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), events.DurableOptions{Partitions: 1, MaxBytes: 1 << 20})
	const n = 40
	kill(t, bus, "mail", n)
	sub := subscriber(t, bus, "mail", events.SubscriberOptions{})
	must(t, notes.Handle(sub, "*", func(context.Context, events.Event[note]) error {
		return events.Discard(errors.New("no such user"))
	}))
	run(t, sub)
	for round := range 5 {
		count := 0
		rig.Eventually(t, 30*time.Second, "all events are dead letters again", func() bool {
			var err error
			count, err = bus.DeadLetters("mail").Count(t.Context())
			must(t, err)
			return count == n
		})
		if got, err := bus.DeadLetters("mail").RedriveAll(t.Context()); got != n || err != nil {
			t.Errorf("round %d: redriven %d of %d: %v", round, got, n, err)
		}
	}
}
