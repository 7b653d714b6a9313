package events_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// An owner that cannot read waits, although a retry is due: its partition is full, or it waits for
// a handler before a pause.
func TestAnOwnerThatCannotReadWaits(t *testing.T) {
	t.Parallel()
	const lease = time.Second
	for name, full := range map[string]bool{"full": true, "draining": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
			bus, err := events.NewDurable(client, "bus", events.DurableOptions{Partitions: 1, Lease: lease})
			must(t, err)
			steps := bus.CountSteps()
			sub := subscriber(t, bus, "g", events.SubscriberOptions{Concurrency: 1, Backoff: func(int) time.Duration { return lease }})
			started, release := make(chan struct{}, 1), make(chan struct{})
			must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error {
				switch {
				case e.Channel == "failing" && e.Attempt == 1:
					return errors.New("once")
				case e.Channel == "held":
					select {
					case started <- struct{}{}:
					default:
					}
					<-release
				}
				return nil
			}))
			stop := run(t, sub)
			must(t, notes.Publish(t.Context(), bus, "failing", note{}))
			rig.Eventually(t, 10*time.Second, "the retry", func() bool { return sub.Stats().Parked == 1 })
			must(t, notes.Publish(t.Context(), bus, "held", note{}))
			<-started
			if full {
				publishMany(t, client, bus, "held", 1, 600)
				rig.Eventually(t, 10*time.Second, "a full partition", func() bool { return sub.Stats().Held >= 512 })
			} else {
				must(t, bus.Pause(t.Context(), "g"))
				rig.Eventually(t, 10*time.Second, "the pause", func() bool { return sub.Stats().Paused })
			}
			polls := func() (n int64) {
				n, due, err := bus.Polls(t.Context(), "g", "failing")
				must(t, err)
				if !due {
					return 0
				}
				return n
			}
			first := int64(0)
			rig.Eventually(t, 10*time.Second, "the due time", func() bool { first = polls(); return first > 0 })
			before, began := steps.Load(), time.Now()
			rig.Eventually(t, 20*time.Second, "some renewals of the lease", func() bool { return polls() >= first+4 })
			quarters := int64(time.Since(began)/(lease/4)) + 2
			if made, looked := polls()-first, steps.Load()-before; made > quarters || looked > 3*quarters {
				t.Errorf("%d polls and %d looks in %d quarters of the lease", made, looked, quarters)
			}
			close(release)
			stop()
		})
	}
}
