package events_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// Three subscribers handle events of 10 bytes to 200 KiB under load; some attempts fail. The server
// is full, loses its scripts, its connections and leases, and has entries of other programs. The
// group is paused. No event is lost, each channel keeps its order, and each step keeps the states
// consistent.
func TestE1_LoadNextToAFullServerAndOddEntries(t *testing.T) {
	rig.Need(t, rig.TierAll)
	t.Parallel()
	server := rig.Standalone(t)
	bus := durable(t, open(t, server.URL(), "app"), attackOptions)
	odd := 0
	attack(t, server.URL(), bus, []func(){
		func() { server.CLI("CONFIG", "SET", "maxmemory", "1") },
		func() { server.CLI("CONFIG", "SET", "maxmemory", "0") },
		func() { server.CLI("SCRIPT", "FLUSH") },
		func() { server.CLI("CLIENT", "KILL", "TYPE", "normal") },
		func() { server.CLI("DEL", bus.LeaseOf("g", fmt.Sprint("c", rand.IntN(attackChannels)))) },
		func() {
			stream := bus.StreamOf(fmt.Sprint("c", rand.IntN(attackChannels)))
			server.CLI("XADD", stream, "*", "some", "thing")
			server.CLI("XADD", stream, "*", "one", "1", "two", "2", "three", "3")
			server.CLI("XADD", stream, "*", "c", "torn", "e1", `{"specversion":"1.0","id":"1`)
			odd += 3
		},
		func() { must(t, bus.Pause(t.Context(), "g")) },
		func() { must(t, bus.Resume(t.Context(), "g")) },
	}, 4)
	rig.Eventually(t, 30*time.Second, "dead letters of the odd entries", func() bool {
		n, err := bus.DeadLetters("g").Count(t.Context())
		return err == nil && n == odd
	})
}

// The same load on a cluster whose primaries hand over to their replicas, one after the other.
func TestE1_LoadNextToFailovers(t *testing.T) {
	rig.Need(t, rig.TierAll)
	t.Parallel()
	cluster := rig.NewCluster(t)
	bus := durable(t, open(t, cluster.URL(), "app"), attackOptions)
	var faults []func()
	for i := range 3 {
		faults = append(faults, func() { cluster.Failover(cluster.Owner(i * 16384 / 3)) })
	}
	attack(t, cluster.URL(), bus, faults, 1)
}

const attackChannels = 12

var attackOptions = events.DurableOptions{Partitions: 4, Lease: 2 * time.Second}

// attack publishes and consumes during the faults, which happen one after the other, rounds times.
func attack(t *testing.T, url string, bus *events.Durable, faults []func(), times int) {
	t.Helper()
	var mu sync.Mutex
	next := map[string]int{}
	var handled, again atomic.Int64
	for range 3 {
		sub := subscriber(t, durable(t, open(t, url, "app"), attackOptions), "g", events.SubscriberOptions{MaxAttempts: 20, Backoff: soon})
		must(t, notes.Handle(sub, "*", func(ctx context.Context, e events.Event[note]) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if rand.IntN(50) == 0 {
				return errors.New("now and then")
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case e.Data.N > next[e.Channel]:
				t.Errorf("%s: event %d was handled before %d", e.Channel, e.Data.N, next[e.Channel])
			case e.Data.N < next[e.Channel]:
				again.Add(1)
			default:
				handled.Add(1)
			}
			next[e.Channel] = max(next[e.Channel], e.Data.N+1)
			return nil
		}))
		run(t, sub)
	}
	ctx, stop := context.WithCancel(t.Context())
	var published atomic.Int64
	var wg sync.WaitGroup
	filler := strings.Repeat("x", 200<<10)
	for c := range attackChannels {
		wg.Go(func() {
			pace := time.NewTicker(5 * time.Millisecond)
			defer pace.Stop()
			for n := 0; ctx.Err() == nil; n++ {
				size := []int{10, 10, 10, 1000, 10_000}[rand.IntN(5)]
				if rand.IntN(100) == 0 {
					size = len(filler)
				}
				id := events.ID(fmt.Sprint(n))
				for notes.Publish(t.Context(), bus, fmt.Sprint("c", c), note{N: n, Text: filler[:size]},
					id) != nil && t.Context().Err() == nil {
					<-pace.C
				}
				published.Add(1)
				<-pace.C
			}
		})
	}
	step := time.NewTicker(300 * time.Millisecond)
	defer step.Stop()
	for range times {
		for _, fault := range faults {
			<-step.C
			fault()
		}
	}
	<-step.C
	stop()
	wg.Wait()
	rig.Eventually(t, time.Minute, "all events", func() bool { return handled.Load() == published.Load() })
	t.Logf("%d events, %d handled again", published.Load(), again.Load())
}
