package events_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// Events that are deleted by hand before a group has read them are reported and counted. Each event
// is either handled or missed.
func TestE8_DeletedByHandIsReported(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	// A blocked consumer holds 512 of the events. 32 of them have begun, and are handled although
	// they are cut.
	const n, held, begun = 1000, 512, 32
	faults := map[string]struct {
		fn     func(stream string)
		missed int64
	}{
		"XTRIM": {func(stream string) { server.CLI("XTRIM", stream, "MAXLEN", "=", "100") }, n - begun - 100},
		"XDEL": {func(stream string) {
			var ids []string
			for _, id := range strings.Fields(server.CLI("XREVRANGE", stream, "+", "-", "COUNT", "60")) {
				if ms, _, ok := strings.Cut(id, "-"); ok && len(ms) == 13 {
					ids = append(ids, id)
				}
			}
			if got := strings.TrimSpace(server.CLI(append([]string{"XDEL", stream}, ids[10:]...)...)); got != "50" {
				t.Errorf("XDEL deleted %s", got)
			}
		}, 50},
		"DEL": {func(stream string) { server.CLI("DEL", stream) }, 0},
	}
	for name, fault := range faults {
		for _, behind := range []string{"blocked", "away"} {
			t.Run(name+" while "+behind, func(t *testing.T) {
				t.Parallel()
				client := open(t, server.URL(), rig.Prefix(t))
				bus := durable(t, client, events.DurableOptions{Partitions: 1, Lease: time.Second})
				var missed, resets atomic.Int64
				start := func(release chan struct{}) (*events.Subscriber, *record, func()) {
					sub := subscriber(t, bus, "g",
						events.SubscriberOptions{Concurrency: 1, Backoff: soon, OnGap: func(g events.Gap) {
							switch {
							case g.Partition != 0 || g.Reason != events.GapTrimmed && g.Reason != events.GapReset:
								t.Errorf("gap %+v", g)
							case g.Reason == events.GapReset:
								resets.Add(1)
							}
							missed.Add(g.Missed)
						}})
					got := newLog()
					must(t, notes.Handle(sub, "*", func(ctx context.Context, e events.Event[note]) error {
						select {
						case <-release:
						case <-ctx.Done(): // the stream is gone, and the partition gets a new lease
							return ctx.Err()
						}
						got.add(e.Channel, e.Data.N)
						return nil
					}))
					return sub, got, run(t, sub)
				}
				release := make(chan struct{})
				sub, got, stop := start(release)
				want := fault.missed
				if behind == "away" {
					close(release)
					stop()
					if name == "XTRIM" {
						want += begun // no event has begun
					}
				}
				publishMany(t, client, bus, "a", 0, n)
				if behind == "blocked" {
					rig.Eventually(t, 20*time.Second, "as much as it may hold", func() bool { return sub.Stats().Held == held })
				}
				fault.fn(bus.StreamOf("a"))
				if behind == "blocked" {
					close(release)
				} else {
					sub, got, _ = start(release)
				}
				must(t, notes.Publish(t.Context(), bus, "a", note{N: n}))
				rig.Eventually(t, 20*time.Second, "the last event",
					func() bool { all := got.of("a"); return len(all) > 0 && all[len(all)-1] == n })
				if name == "DEL" {
					rig.Eventually(t, 10*time.Second, "a gap", func() bool { return resets.Load() == 1 })
				} else {
					rig.Eventually(t, 10*time.Second, "handled + missed = published",
						func() bool { return int64(got.total())+missed.Load() == n+1 })
				}
				if got := missed.Load(); got != want {
					t.Errorf("%d events were reported missed, want %d", got, want)
				}
				if sub.Stats().Gaps == 0 {
					t.Errorf("no gap is counted: %+v", sub.Stats())
				}
			})
		}
	}
}
