package events_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/failpoint"
	"github.com/redstart-go/redstart/internal/rig"
)

// inStream is how many events the stream of a channel has.
func inStream(t testing.TB, bus *events.Durable, channel string) int {
	t.Helper()
	n, err := bus.Len(t.Context(), channel)
	must(t, err)
	return n
}

// Delayed events appear in the stream without a group, also those of a process that has ended.
// Events that are due together keep the order of their publication.
func TestDelayedEventsAppearWithoutAGroup(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		const many = 300
		opts := events.DurableOptions{Partitions: 1}
		bus := durable(t, open(t, e.URL, e.Namespace), opts)
		rig.Arm(t, bus.Points(), "pass", failpoint.Lasts(100*time.Millisecond))
		at := time.Now().Add(500 * time.Millisecond)
		for n := range many {
			must(t, notes.Publish(t.Context(), bus, "a", note{N: n}, events.At(at)))
		}
		rig.Eventually(t, 10*time.Second, "the events of this process", func() bool { return inStream(t, bus, "a") == many })

		ended := durable(t, open(t, e.URL, e.Namespace), opts)
		must(t, notes.Publish(t.Context(), ended, "a", note{N: many}, events.Delay(200*time.Millisecond)))
		must(t, ended.Close(t.Context()))
		rig.Eventually(t, 10*time.Second, "the event of another process", func() bool { return inStream(t, bus, "a") == many+1 })

		sub := subscriber(t, bus, "later", events.SubscriberOptions{Start: events.FromBeginning()})
		got := newLog()
		must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error { got.add(e.Channel, e.Data.N); return nil }))
		run(t, sub)
		got.inOrder(t, "a", many+1)
	})
}

// An event appears when it is due. The next pass of the janitor comes after the end of the test.
func TestDelayedEventsAppearWhenDue(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		bus := durable(t, open(t, e.URL, e.Namespace), events.DurableOptions{Partitions: 2})
		const delay = 2 * time.Second // the first pass comes after 1 s
		channels := channelOfEach(bus, "c", 2)
		must(t, notes.Publish(t.Context(), bus, channels[0], note{}, events.Delay(delay)))
		must(t, notes.Publish(t.Context(), bus, channels[1], note{}, events.At(time.Now().Add(delay))))
		for _, channel := range channels {
			rig.Eventually(t, 15*time.Second, "the event", func() bool { return inStream(t, bus, channel) == 1 })
		}
	})
}

// Events that are due at the same millisecond are handled in the order of their publication, in all
// channels, published one by one or in a batch.
func TestDelayedEventsKeepTheirOrder(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		bus := durable(t, open(t, e.URL, e.Namespace), events.DurableOptions{Partitions: 2})
		sub, got := counting(t, bus, nil)
		run(t, sub)
		at := time.Now().Add(time.Second).Truncate(time.Millisecond)
		var batch events.Batch
		for n := range 100 {
			for _, channel := range []string{"a", "b:c", "1:x"} {
				if n < 50 {
					must(t, notes.Publish(t.Context(), bus, channel, note{N: n}, events.At(at)))
				} else {
					notes.AddToBatch(&batch, channel, note{N: n}, events.At(at))
				}
			}
		}
		must(t, bus.PublishBatch(t.Context(), &batch))
		for _, channel := range []string{"a", "b:c", "1:x"} {
			got.inOrder(t, channel, 100)
		}
	})
}

// An event that is published at its due time follows the events with this due time that are not in
// the stream yet.
func TestADelayedEventThatComesLateKeepsItsPlace(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		bus := durable(t, open(t, e.URL, e.Namespace), events.DurableOptions{Partitions: 1})
		rig.Arm(t, bus.Points(), "pass", failpoint.Lasts(time.Hour))
		at := time.Now().Add(200 * time.Millisecond)
		must(t, notes.Publish(t.Context(), bus, "a", note{N: 0}, events.At(at)))
		<-time.After(time.Until(at) + 100*time.Millisecond)
		must(t, notes.Publish(t.Context(), bus, "a", note{N: 1}, events.At(at)))
		sub := subscriber(t, bus, "g", events.SubscriberOptions{Start: events.FromBeginning()})
		got := newLog()
		must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error { got.add(e.Channel, e.Data.N); return nil }))
		run(t, sub)
		got.inOrder(t, "a", 2)
	})
}

// A delayed event can be cancelled until it is due, by the producer's id or the id of Publish. Its
// id may be used again.
func TestCancelADelayedEvent(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		bus := durable(t, open(t, e.URL, e.Namespace), events.DurableOptions{})
		sub, got := counting(t, bus, nil)
		run(t, sub)
		ctx := t.Context()
		var given events.Receipt
		must(t, notes.Publish(ctx, bus, "a", note{N: 0}, events.ID("mine"), events.Delay(time.Hour)))
		must(t, notes.Publish(ctx, bus, "a", note{N: 0}, events.Delay(300*time.Millisecond), events.Into(&given)))
		must(t, notes.Publish(ctx, bus, "b", note{N: 0}, events.ID("mine"), events.Delay(300*time.Millisecond))) // an id is a channel's own
		must(t, bus.Cancel(ctx, "a", "mine"))
		must(t, bus.Cancel(ctx, "a", given.ID))
		for what, id := range map[string]string{"again": "mine", "unknown": "none", "odd": "x y\x00:z%"} {
			if err := bus.Cancel(ctx, "a", id); !errors.Is(err, events.ErrNotFound) {
				t.Errorf("%s: %v, want ErrNotFound", what, err)
			}
		}
		got.inOrder(t, "b", 1)
		if err := bus.Cancel(ctx, "b", "mine"); !errors.Is(err, events.ErrNotFound) {
			t.Errorf("an event that has appeared: %v, want ErrNotFound", err)
		}
		must(t, notes.Publish(ctx, bus, "a", note{N: 1}, events.ID("mine"))) // other content under the same id
		rig.Eventually(t, 10*time.Second, "the event of the id's second use", func() bool { return slices.Equal(got.of("a"), []int{1}) })
		if g, err := bus.Group(ctx, "g"); err != nil || g.Delayed != 0 {
			t.Errorf("%+v, %v", g, err)
		}
	})
}

// Each event is either cancelled or handled, if both happen at the same time. On a busy machine all
// events may be cancelled, or none. Then another round spaces the due times twice as far.
func TestCancelRacesTheDueTime(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		const many, rounds = 200, 8
		bus := durable(t, open(t, e.URL, e.Namespace), events.DurableOptions{})
		sub, got := counting(t, bus, nil)
		run(t, sub)
		for round := range rounds {
			n := cancelAsDue(t, bus, got, fmt.Sprint("r", round, "-"), many, time.Millisecond<<round)
			if g, err := bus.Group(t.Context(), "g"); err != nil || g.Delayed != 0 {
				t.Errorf("%+v, %v", g, err)
			}
			if n > 0 && n < many {
				return
			}
			t.Logf("round %d: %d of %d events were cancelled", round, n, many)
		}
		t.Errorf("in each of %d rounds all events were cancelled, or none", rounds)
	})
}

// cancelAsDue delays many events, each on a channel of its own, that are due one spacing apart. It
// cancels them while they become due, and returns how many were cancelled. It fails unless each
// event is either cancelled or handled.
func cancelAsDue(t *testing.T, bus *events.Durable, got *record, prefix string, many int, spacing time.Duration) int {
	t.Helper()
	before := got.total()
	channel := func(n int) string { return fmt.Sprint(prefix, n) }
	for n := range many {
		due := 200*time.Millisecond + time.Duration(n)*spacing
		must(t, notes.Publish(t.Context(), bus, channel(n), note{N: n}, events.ID("x"), events.Delay(due)))
	}
	latest := func() (most int) {
		for n := range many {
			if len(got.of(channel(n))) > 0 {
				most = n
			}
		}
		return most
	}

	// Each worker cancels its events when an event has appeared that was due some events earlier:
	// the first worker mostly too late, the last one mostly in time.
	leads := []int{1, 8, 24, 64}
	var cancelled atomic.Int64
	var wg sync.WaitGroup
	for worker, lead := range leads {
		wg.Go(func() {
			for n := worker; n < many; n += len(leads) {
				rig.Eventually(t, 60*time.Second, "an event before the one to cancel", func() bool { return latest() >= n-lead })
				switch err := bus.Cancel(t.Context(), channel(n), "x"); {
				case err == nil:
					cancelled.Add(1)
				case !errors.Is(err, events.ErrNotFound):
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	handled := func() int { return got.total() - before }
	rig.Eventually(t, 20*time.Second, "handled + cancelled = published",
		func() bool { return handled()+int(cancelled.Load()) >= many })
	if sum := handled() + int(cancelled.Load()); sum != many {
		t.Errorf("%d events were handled and %d cancelled of %d", handled(), cancelled.Load(), many)
	}
	return int(cancelled.Load())
}

// An event without Dedup may be delayed twice under one id: both events appear.
func TestDelayedTwiceWithoutDedup(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		bus := durable(t, open(t, e.URL, e.Namespace), events.DurableOptions{Dedup: events.NoDedup})
		sub, got := counting(t, bus, nil)
		run(t, sub)
		for n := range 3 {
			must(t, notes.Publish(t.Context(), bus, "a", note{N: n}, events.ID("x"), events.Delay(300*time.Millisecond)))
		}
		got.inOrder(t, "a", 3)
	})
}

// A full server refuses a delayed event whole. Stored delayed events still appear and can be
// cancelled.
func TestDelayedEventsOnAFullServer(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	bus := durable(t, open(t, server.URL(), "app"), events.DurableOptions{Partitions: 1})
	rig.Arm(t, bus.Points(), "pass", failpoint.Lasts(100*time.Millisecond))
	ctx := t.Context()
	must(t, notes.Publish(ctx, bus, "a", note{}, events.ID("soon"), events.Delay(time.Second)))
	must(t, notes.Publish(ctx, bus, "a", note{}, events.ID("late"), events.Delay(time.Hour)))
	server.CLI("CONFIG", "SET", "maxmemory", "1")
	keys := server.CLI("DBSIZE")
	if err := notes.Publish(ctx, bus, "a", note{}, events.ID("refused"), events.Delay(time.Hour)); err == nil {
		t.Error("a full server took an event")
	}
	must(t, bus.Cancel(ctx, "a", "late"))
	rig.Eventually(t, 10*time.Second, "the event that is due", func() bool { return inStream(t, bus, "a") == 1 })
	if now := server.CLI("DBSIZE"); strings.TrimSpace(now) > strings.TrimSpace(keys) {
		t.Errorf("%s keys, %s before", now, keys)
	}
	server.CLI("CONFIG", "SET", "maxmemory", "0")
	must(t, notes.Publish(ctx, bus, "a", note{}, events.ID("refused")))
}

// With one dead primary in a cluster, delayed events of other partitions appear.
func TestDelayedEventsNextToADeadPrimary(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	cluster := rig.NewCluster(t, rig.NoReplicas(), rig.NodeArgs("--cluster-require-full-coverage", "no"))
	bus := durable(t, openWithin(t, time.Second, cluster.URL(), "app"), events.DurableOptions{Partitions: 16})
	rig.Arm(t, bus.Points(), "pass", failpoint.Lasts(200*time.Millisecond))
	dead := cluster.Owner(rig.Slot(bus.StreamOf("c0")))
	var well []string
	all := 40
	for i := range all {
		channel := fmt.Sprint("c", i)
		must(t, notes.Publish(t.Context(), bus, channel, note{}, events.Delay(3*time.Second)))
		if cluster.Owner(rig.Slot(bus.StreamOf(channel))) != dead {
			well = append(well, channel)
		}
	}
	dead.Kill()
	if len(well) == 0 || len(well) == all {
		t.Fatalf("%d of %d channels are on other nodes: the test shows nothing", len(well), all)
	}
	for _, channel := range well {
		rig.Eventually(t, 20*time.Second, "the event of "+channel,
			func() bool { n, err := bus.Len(t.Context(), channel); return err == nil && n > 0 })
	}
}

// Retention holds without a running group, for unread and for parked events. The group is notified
// how many events it missed.
func TestE8_RetentionHoldsWithoutARunningGroup(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		const parked, unread = 50, 30
		bus := durable(t, open(t, e.URL, e.Namespace), events.DurableOptions{Partitions: 1, Lease: time.Second, Retention: 4 * time.Second})
		var missed atomic.Int64
		start := func(err error) (*events.Subscriber, func()) {
			sub := subscriber(t, bus, "g", events.SubscriberOptions{MaxAttempts: events.NoMaxAttempts,
				Backoff: func(int) time.Duration { return time.Hour },
				OnGap:   func(g events.Gap) { missed.Add(g.Missed) }})
			must(t, notes.Handle(sub, "*", func(context.Context, events.Event[note]) error { return err }))
			return sub, run(t, sub)
		}
		sub, stop := start(errors.New("no"))
		for i := range parked {
			must(t, notes.Publish(t.Context(), bus, fmt.Sprint("c", i%5), note{N: i}))
		}
		rig.Eventually(t, 10*time.Second, "all parked", func() bool { return sub.Stats().Waiting == parked })
		stop()
		for i := range unread {
			must(t, notes.Publish(t.Context(), bus, "u", note{N: i}))
		}
		g, err := bus.Group(t.Context(), "g")
		must(t, err)
		if g.Lag+g.Pending != parked+unread {
			t.Errorf("group %+v", g)
		}
		rig.Eventually(t, 20*time.Second, "nothing is kept", func() bool {
			g, err := bus.Group(t.Context(), "g")
			return err == nil && g.Lag+g.Pending == 0 && inStream(t, bus, "u") == 0
		})
		start(nil)
		rig.Eventually(t, 10*time.Second, "the gap", func() bool { return missed.Load() == parked+unread })
	})
}

// MaxLen bounds the parked events of a group: the oldest are cut and reported, also while the owner
// handles long channels. Each event is either handled or missed. Of each channel, the newest parked
// events are handled, and those that the owner held.
func TestE8_MaxLenBoundsParkedEvents(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		const most, channels, each, window = 300, 4, 500, 32 // the owner may hold up to two windows per channel
		bus := durable(t, open(t, e.URL, e.Namespace), events.DurableOptions{Partitions: 1, Lease: time.Second, MaxLen: most})
		var missed, handled atomic.Int64
		var well atomic.Bool
		got := newLog()
		sub := subscriber(t, bus, "g", events.SubscriberOptions{MaxAttempts: events.NoMaxAttempts,
			Backoff: func(int) time.Duration { return 200 * time.Millisecond },
			OnGap:   func(g events.Gap) { missed.Add(g.Missed) }})
		must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error {
			if !well.Load() {
				return errors.New("no")
			}
			got.add(e.Channel, e.Data.N)
			handled.Add(1)
			return nil
		}))
		run(t, sub)
		for n := range each {
			for c := range channels {
				must(t, notes.Publish(t.Context(), bus, fmt.Sprint("c", c), note{N: n}))
			}
		}
		rig.Eventually(t, 20*time.Second, "as much as may be parked", func() bool {
			g, err := bus.Group(t.Context(), "g")
			return err == nil && g.Waiting <= most+channels*window && missed.Load() >= channels*each-most-2*channels*window
		})
		well.Store(true)
		rig.Eventually(t, 20*time.Second, "nothing waits",
			func() bool { g, err := bus.Group(t.Context(), "g"); return err == nil && g.Drained() })
		rig.Eventually(t, 20*time.Second, "handled + missed = published",
			func() bool { return handled.Load()+missed.Load() >= channels*each })
		if sum := handled.Load() + missed.Load(); sum != channels*each {
			t.Errorf("%d events were handled and %d missed of %d", handled.Load(), missed.Load(), channels*each)
		}
		for c := range channels {
			all := got.of(fmt.Sprint("c", c))
			for i, n := range all { // the last ones are consecutive
				if want := each - len(all) + i; n != want && i >= 2*window {
					t.Errorf("c%d: event %d was handled in place of %d, of %d: the oldest did not go first", c, n, want, len(all))
					break
				}
			}
		}
	})
}
