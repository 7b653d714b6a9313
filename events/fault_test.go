package events_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

// counting returns a durable subscriber that logs every event, with short times.
func counting(t *testing.T, bus *events.Durable, gaps func(events.Gap)) (*events.Subscriber, *record) {
	t.Helper()
	sub := subscriber(t, bus, "g", events.SubscriberOptions{Backoff: soon, OnGap: gaps})
	got := newLog()
	must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error { got.add(e.Channel, e.Data.N); return nil }))
	return sub, got
}

// Consumption goes on after each fault that destroys streams, and a reset is reported as a gap.
func TestE7_ConsumptionResumes(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	faults := map[string]func(bus *events.Durable){
		"XTRIM":          func(bus *events.Durable) { server.CLI("XTRIM", bus.StreamOf("a"), "MAXLEN", "=", "0") },
		"FLUSHALL":       func(*events.Durable) { server.CLI("FLUSHALL") },
		"DEL":            func(bus *events.Durable) { server.CLI("DEL", bus.StreamOf("a")) },
		"XGROUP DESTROY": func(bus *events.Durable) { server.CLI("XGROUP", "DESTROY", bus.StreamOf("a"), "g") },
		"SCRIPT FLUSH":   func(*events.Durable) { server.CLI("SCRIPT", "FLUSH") },
		"lease gone":     func(bus *events.Durable) { server.CLI("DEL", bus.LeaseOf("g", "a")) },
		"CLIENT KILL":    func(*events.Durable) { server.CLI("CLIENT", "KILL", "TYPE", "normal") },
	}
	for name, fault := range faults {
		bus := durable(t, open(t, server.URL(), "app"), events.DurableOptions{Partitions: 2, Lease: time.Second})
		var gaps atomic.Int32
		sub, got := counting(t, bus, func(g events.Gap) {
			if g.Reason == events.GapReset {
				gaps.Add(1)
			}
		})
		stop := run(t, sub)
		must(t, notes.Publish(t.Context(), bus, "a", note{N: 0}))
		got.inOrder(t, "a", 1)
		fault(bus)
		for n := range 20 {
			publishUntil(t, bus, "a", n+1)
		}
		rig.Eventually(t, 15*time.Second, "events after "+name, func() bool {
			all := got.of("a")
			return len(all) > 0 && all[len(all)-1] == 20
		})
		if reset := name == "FLUSHALL" || name == "DEL" || name == "XGROUP DESTROY"; reset {
			rig.Eventually(t, 5*time.Second, "a gap after "+name, func() bool { return gaps.Load() > 0 })
		} else if gaps.Load() != 0 {
			t.Errorf("%s: %d gaps", name, gaps.Load())
		}
		stop()
		server.CLI("FLUSHALL")
	}
}

func TestE7_ServerRestartsEmpty(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	bus := durable(t, open(t, server.URL(), "app"), events.DurableOptions{Partitions: 2, Lease: time.Second})
	sub, got := counting(t, bus, nil)
	run(t, sub)
	must(t, notes.Publish(t.Context(), bus, "a", note{N: 0}))
	got.inOrder(t, "a", 1)
	server.Kill()
	server.Restart()
	publishUntil(t, bus, "a", 1)
	rig.Eventually(t, 15*time.Second, "an event after the restart", func() bool { return len(got.of("a")) == 2 })
}

func TestE7_SlotsMove(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	cluster := rig.NewCluster(t, rig.NoReplicas())
	bus := durable(t, open(t, cluster.URL(), "app"), events.DurableOptions{Partitions: 4, Lease: 2 * time.Second})
	sub, got := counting(t, bus, nil)
	run(t, sub)
	ctx, stop := context.WithCancel(t.Context())
	count := make(chan int, 1)
	go func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			publishUntil(t, bus, "a", n)
		}
		count <- n
	}()
	rig.Eventually(t, 10*time.Second, "a first event", func() bool { return len(got.of("a")) > 50 })
	slot := rig.Slot(bus.StreamOf("a"))
	from := cluster.Owner(slot)
	to := cluster.Primaries()[0]
	if to == from {
		to = cluster.Primaries()[1]
	}
	move := cluster.MigrateSlot(slot, from, to)
	before := len(got.of("a"))
	rig.Eventually(t, 15*time.Second, "the slot's keys to move", func() bool {
		keys := move.Keys()
		move.Move(keys...)
		return len(move.Keys()) == 0
	})
	move.Finish()
	rig.Eventually(t, 20*time.Second, "events after the slot has moved", func() bool { return len(got.of("a")) > before+200 })
	stop()
	n := <-count
	rig.Eventually(t, 10*time.Second, "all events", func() bool { return seen(got.of("a")) >= n })
}

func TestE7_Failover(t *testing.T) {
	t.Parallel()
	sentinel := rig.NewSentinel(t)
	bus := durable(t, open(t, sentinel.URL(), "app"), events.DurableOptions{Partitions: 2, Lease: 2 * time.Second})
	sub, got := counting(t, bus, nil)
	run(t, sub)
	must(t, notes.Publish(t.Context(), bus, "a", note{N: 0}))
	got.inOrder(t, "a", 1)
	sentinel.Failover()
	n := 1
	rig.Eventually(t, 40*time.Second, "events after the failover", func() bool {
		if notes.Publish(t.Context(), bus, "a", note{N: n}) == nil {
			n++
		}
		all := got.of("a")
		return n > 20 && len(all) > 0 && all[len(all)-1] >= 20
	})
}

// seen counts the different numbers.
func seen(all []int) int {
	m := map[int]bool{}
	for _, n := range all {
		m[n] = true
	}
	return len(m)
}

// publishUntil publishes with one ID until the publication is confirmed.
func publishUntil(t testing.TB, bus *events.Durable, channel string, n int) {
	t.Helper()
	var last error
	rig.Eventually(t, 20*time.Second, "a publish", func() bool {
		last = notes.Publish(context.Background(), bus, channel, note{N: n}, events.ID(fmt.Sprint(channel, n, t.Name())))
		return last == nil
	})
}

// A full server refuses new events. Stored events are read, acknowledged, parked and dead-lettered.
func TestFullServer(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t, "--maxmemory-policy", "noeviction")
	bus := durable(t, open(t, server.URL(), "app"), events.DurableOptions{Partitions: 1, Lease: time.Second})
	var full atomic.Bool
	sub := subscriber(t, bus, "g", events.SubscriberOptions{MaxAttempts: 2, Backoff: soon})
	got := newLog()
	start := make(chan struct{})
	must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error {
		<-start
		if e.Channel == "bad" {
			return errors.New("no")
		}
		got.add(e.Channel, e.Data.N)
		return nil
	}))
	register := run(t, sub)
	for n := range 500 {
		must(t, notes.Publish(t.Context(), bus, fmt.Sprint("c", n%10), note{N: n / 10}))
	}
	for n := range 20 {
		must(t, notes.Publish(t.Context(), bus, "bad", note{N: n}))
	}
	server.CLI("CONFIG", "SET", "maxmemory", "1")
	full.Store(true)
	err := notes.Publish(t.Context(), bus, "a", note{})
	if !errors.Is(err, redstart.ErrFull) || !strings.HasPrefix(err.Error(), "events: publish to ") {
		t.Errorf("Publish on a full server: %v, want ErrFull", err)
	}
	if err := notes.Publish(t.Context(), bus, "a", note{}, events.ID("x")); !errors.Is(err, redstart.ErrFull) {
		t.Errorf("Publish with an ID on a full server: %v, want ErrFull", err)
	}
	close(start)
	for c := range 10 {
		got.inOrder(t, fmt.Sprint("c", c), 50)
	}
	dead := bus.DeadLetters("g")
	rig.Eventually(t, 15*time.Second, "dead letters", func() bool { n, err := dead.Count(t.Context()); return err == nil && n == 20 })
	register()
	// A new owner can start on the full server.
	again, _ := counting(t, bus, nil)
	run(t, again)
	if n, err := dead.Redrive(t.Context(), first(t, dead)); err != nil || n != 1 {
		t.Errorf("redriven %d, %v", n, err)
	}
	rig.Eventually(t, 10*time.Second, "the redriven event", func() bool { return again.Stats().Handled == 1 })
	if lost := sub.Stats().Lost; lost != 0 {
		t.Errorf("%d leases were lost", lost)
	}
}

func first(t *testing.T, dead *events.DeadLetters) string {
	t.Helper()
	page, err := dead.List(t.Context(), "", 1)
	must(t, err)
	return page[0].ID
}

// Trimming removes the entries that every group has acknowledged, and no others.
func TestE8_TrimmingSparesTheUnread(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := open(t, e.URL, e.Namespace)
		bus := durable(t, client, events.DurableOptions{Partitions: 1})
		sub, got := counting(t, bus, nil)
		slow := subscriber(t, bus, "slow", events.SubscriberOptions{})
		slowGot := newLog()
		must(t, notes.Handle(slow, "*", func(_ context.Context,
			e events.Event[note]) error {
			slowGot.add(e.Channel, e.Data.N)
			return nil
		}))
		stopSlow := run(t, slow)
		must(t, notes.Publish(t.Context(), bus, "a", note{N: 0}))
		slowGot.inOrder(t, "a", 1)
		stopSlow()
		run(t, sub)
		n := 3000
		if e.Embedded != nil {
			n = 300 // the embedded engine is slow under the race detector
		}
		publishMany(t, client, bus, "a", 1, n)
		length := func() int64 {
			r := rigclient.Redis(t, client)
			c, err := r.Do(t.Context(), r.B().Xlen().Key(bus.StreamOf("a")).Build()).AsInt64()
			must(t, err)
			return c
		}
		rig.Eventually(t, 30*time.Second, "all handled by one group", func() bool { return len(got.of("a")) == n })
		must(t, bus.Trim(t.Context(), "a"))
		if c := length(); c < int64(n) {
			t.Fatalf("%d of %d events are left; the slow group has read one", c, n)
		}
		slow = subscriber(t, bus, "slow", events.SubscriberOptions{})
		must(t, notes.Handle(slow, "*", func(_ context.Context,
			e events.Event[note]) error {
			slowGot.add(e.Channel, e.Data.N)
			return nil
		}))
		stopSlow = run(t, slow)
		slowGot.inOrder(t, "a", n+1)
		stopSlow()
		rig.Eventually(t, 10*time.Second, "the stream is trimmed",
			func() bool { must(t, bus.Trim(t.Context(), "a")); return length() < 10 })
		must(t, bus.DropGroup(t.Context(), "slow"))
		publishMany(t, client, bus, "a", n, 100)
		rig.Eventually(t, 10*time.Second, "a dropped group holds nothing",
			func() bool { must(t, bus.Trim(t.Context(), "a")); return length() < 10 })
		if err := bus.DropGroup(t.Context(), "g"); !errors.Is(err, events.ErrRunning) {
			t.Errorf("DropGroup of a running group: %v", err)
		}
	})
}

// Events that Retention or MaxLen cut before they were read are reported.
func TestE8_CutsAreReported(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	for name, cut := range map[string]struct {
		opts events.DurableOptions
		fn   func(bus *events.Durable)
	}{
		"MaxLen": {events.DurableOptions{MaxLen: 10}, func(bus *events.Durable) { must(t, bus.Trim(t.Context(), "a")) }},
		"Retention": {events.DurableOptions{Retention: time.Millisecond}, func(bus *events.Durable) {
			rig.Eventually(t, 5*time.Second, "all are too old", func() bool {
				must(t, bus.Trim(t.Context(), "a"))
				return strings.TrimSpace(server.CLI("XLEN", bus.StreamOf("a"))) == "0"
			})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			client := open(t, server.URL(), rig.Prefix(t))
			opts := cut.opts
			opts.Partitions, opts.Lease = 1, time.Second
			bus := durable(t, client, opts)
			sub, got := counting(t, bus, nil)
			stop := run(t, sub)
			must(t, notes.Publish(t.Context(), bus, "a", note{N: 0}))
			got.inOrder(t, "a", 1)
			stop()
			publishMany(t, client, bus, "a", 1, 100)
			cut.fn(bus)
			var missed, calls atomic.Int64
			sub, got = counting(t, bus, func(g events.Gap) {
				if g.Reason == events.GapTrimmed && g.Partition == 0 {
					calls.Add(1)
					missed.Add(g.Missed)
				}
			})
			run(t, sub)
			rig.Eventually(t, 10*time.Second, "a gap", func() bool { return calls.Load() == 1 })
			rig.Eventually(t, 10*time.Second, "the rest", func() bool { return int64(got.total())+missed.Load() == 100 })
		})
	}
}
