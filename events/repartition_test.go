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

// The procedure of doc.go for another number of partitions keeps the order of every channel.
// Producers and consumers change one after the other, and handlers fail. The last event of each
// channel on the old bus is parked when the change starts, and fails until long after the first
// publication on the new bus.
func TestE4_RepartitioningKeepsOrder(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		const channels, each = 8, 120
		ctx := t.Context()
		bus := func(name string, partitions int) *events.Durable {
			b, err := events.NewDurable(open(t, e.URL, e.Namespace), name,
				events.DurableOptions{Partitions: partitions, Lease: time.Second})
			must(t, err)
			return b
		}
		got := newLog()
		var mu sync.Mutex
		failed := map[string]int{}
		last := func(c int) int { return 30 + 10*c - 1 } // on the old bus
		consume := func(b *events.Durable) {
			sub := subscriber(t, b, "g", events.SubscriberOptions{MaxAttempts: events.NoMaxAttempts,
				Backoff: func(int) time.Duration { return 100 * time.Millisecond }})
			must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error {
				var c, most int
				_, err := fmt.Sscanf(e.Channel, "c%d", &c)
				must(t, err)
				switch {
				case e.Data.N == last(c):
					most = 10
				case e.Data.N%17 == 3:
					most = 1
				}
				mu.Lock()
				failed[fmt.Sprint(e.Channel, " ", e.Data.N)]++
				n := failed[fmt.Sprint(e.Channel, " ", e.Data.N)]
				mu.Unlock()
				if n <= most {
					return errors.New("not yet")
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
			producers.Go(func() { // 3: the producers change one by one
				for n := range each {
					to := older
					if n > last(c) {
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
