package events_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// spread publishes one note to each of n channels from 16 goroutines.
func spread(t *testing.T, bus events.Bus, prefix string, n int, text string) {
	t.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				if err := notes.Publish(t.Context(), bus, fmt.Sprint(prefix, i), note{N: int(i), Text: text}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// One subscriber has 10,000 channels and a pattern with 100,000 channels. A handler hangs, the
// server is full, and the server restarts. Only the channel of the hanging handler is affected, and
// memory does not grow.
func TestLiveUnderAttack(t *testing.T) {
	rig.Need(t, rig.TierAll) // not parallel: it measures the heap of the process
	const subscriptions, channels = 10_000, 100_000
	server := rig.Standalone(t)
	var gaps atomic.Int64
	publisher := live(t, server.URL(), "app", events.LiveOptions{})
	sub := subscriber(t, live(t, server.URL(), "app", events.LiveOptions{}), "s",
		events.SubscriberOptions{Queue: 1 << 17, OnGap: func(g events.Gap) {
			if g.Reason == events.GapReconnect {
				gaps.Add(1)
			}
		}})
	var exact, glob atomic.Int64
	for i := range subscriptions {
		must(t, notes.Handle(sub, fmt.Sprint("users:", i),
			func(context.Context, events.Event[note]) error { exact.Add(1); return nil }))
	}
	must(t, notes.Handle(sub, "orders:*", func(context.Context, events.Event[note]) error { glob.Add(1); return nil }))
	hangs, release := make(chan struct{}, 1), make(chan struct{})
	defer close(release)
	must(t, notes.Handle(sub, "hangs", func(context.Context,
		events.Event[note]) error {
		hangs <- struct{}{}
		<-release
		return nil
	}))
	run(t, sub)
	everyone := func(text string) {
		exact.Store(0)
		spread(t, publisher, "users:", subscriptions, text)
		rig.Eventually(t, 60*time.Second, "an event on every channel", func() bool { return exact.Load() == subscriptions })
	}

	must(t, notes.Publish(t.Context(), publisher, "hangs", note{}))
	<-hangs
	everyone("")
	spread(t, publisher, "orders:", channels/10, "")
	rig.Eventually(t, 60*time.Second, "a tenth", func() bool { return glob.Load() == channels/10 })
	before := inUse()
	spread(t, publisher, "orders:", channels, "")
	rig.Eventually(t, 60*time.Second, "every channel of the pattern", func() bool { return glob.Load() == channels/10+channels })
	if grown := inUse() - before; grown > before/4 {
		t.Errorf("100,000 channels left %d bytes behind, want at most a quarter of the %d in use after 10,000", grown, before)
	}

	server.CLI("CONFIG", "SET", "maxmemory", "1", "maxmemory-policy", "noeviction")
	everyone("")
	must(t, notes.Publish(t.Context(), publisher, "orders:large", note{Text: strings.Repeat("x", 64<<10)}))
	rig.Eventually(t, 60*time.Second, "a large event through a full server",
		func() bool { return glob.Load() == channels/10+channels+1 })
	server.CLI("CONFIG", "SET", "maxmemory", "0")

	for n := range int64(2) {
		server.Restart()
		rig.Eventually(t, 60*time.Second, "the gap of the restart", func() bool { return gaps.Load() == n+1 })
		everyone("")
	}
	if s := sub.Stats(); s.Dropped != 0 || s.Failed != 0 || gaps.Load() != 2 {
		t.Errorf("%d gaps of two restarts, stats %+v", gaps.Load(), s)
	}
}
