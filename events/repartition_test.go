package events_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// The procedure of doc.go for another number of partitions keeps the order of every channel, with producers and consumers that change one after
// the other, failing handlers, and events that are parked when the change begins.
func TestE4_RepartitioningKeepsOrder(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		const channels, each = 8, 120
		ctx := t.Context()
		bus := func(name string, partitions int) *events.Durable {
			b, err := events.NewDurable(open(t, e.URL, e.Namespace), name, events.DurableOptions{Partitions: partitions, Lease: time.Second})
			must(t, err)
			return b
		}
		got := newLog()
		var mu sync.Mutex
		failed := map[string]bool{}
		consume := func(b *events.Durable) {
			sub := subscriber(t, b, "g", events.SubscriberOptions{Backoff: soon})
			must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error {
				mu.Lock()
				first := e.Data.N%17 == 3 && !failed[fmt.Sprint(e.Channel, e.Data.N)]
				failed[fmt.Sprint(e.Channel, e.Data.N)] = true
				mu.Unlock()
				if first {
					return errors.New("once")
				}
				got.add(e.Channel, e.Data.N)
				return nil
			}))
			run(t, sub)
		}
		older, newer := bus("orders", 2), bus("orders.2", 5)
		consume(older)

		must(t, newer.Pause(ctx, "g")) // 1
		for range 2 {                  // 2
			consume(older)
			consume(newer)
		}
		var producers sync.WaitGroup
		for c := range channels {
			producers.Go(func() { // 3: each producer changes at a moment of its own
				for n := range each {
					to := older
					if n >= 30+10*c {
						to = newer
					}
					must(t, notes.Publish(ctx, to, fmt.Sprint("c", c), note{N: n}))
				}
			})
		}
		producers.Wait()
		rig.Eventually(t, 30*time.Second, "the old bus is drained", func() bool { // 4
			g, err := older.Group(ctx, "g")
			return err == nil && g.Drained()
		})
		must(t, newer.Resume(ctx, "g")) // 5
		for c := range channels {
			got.inOrder(t, fmt.Sprint("c", c), each)
		}
	})
}
