package events_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/failpoint"
	"github.com/redstart-go/redstart/internal/rig"
)

var oddNames = []string{"a", "a:b", "a%3Ab", "%", "{0}", "parked:a", "ünï", "*", "x y\nz", "0"}

// All events that wait for a group are visible without a running subscriber: unread, parked,
// delayed and dead events, and the age of the oldest.
func TestGroupSeesWhatWaits(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		bus := durable(t, open(t, e.URL, e.Namespace), events.DurableOptions{Lease: time.Second})
		sub := subscriber(t, bus, "g", events.SubscriberOptions{MaxAttempts: 2, Backoff: func(int) time.Duration { return time.Hour }})
		must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error {
			switch e.Data.Text {
			case "fails":
				return errors.New("no")
			case "dies":
				return events.Discard(nil)
			}
			return nil
		}))
		stop := run(t, sub)
		before := time.Now()
		for i := range 8 {
			channel := fmt.Sprint("c", i)
			must(t, notes.Publish(t.Context(), bus, channel, note{Text: "fails"}))
			must(t, notes.Publish(t.Context(), bus, channel, note{}))
			must(t, notes.Publish(t.Context(), bus, fmt.Sprint("d", i), note{Text: "dies"}))
		}
		rig.Eventually(t, 10*time.Second, "16 parked events in Stats", func() bool {
			s := sub.Stats()
			return s.Waiting == 16 && s.Lag == 16 && s.DeadLettered == 8 && s.Oldest > 0 && s.Dead == 8
		})
		stop()
		for i := range 10 {
			must(t, notes.Publish(t.Context(), bus, fmt.Sprint("new", i), note{}))
			must(t, notes.Publish(t.Context(), bus, fmt.Sprint("late", i), note{}, events.Delay(time.Hour)))
		}
		g, err := bus.Group(t.Context(), "g")
		must(t, err)
		oldest := time.Since(before)
		if g.Name != "g" || g.Lag != 26 || g.Waiting != 16 || g.Pending != 0 || g.Dead != 8 || g.Delayed != 10 ||
			g.Consumers != 0 || g.Drained() {
			t.Errorf("group %+v", g)
		}
		if g.Oldest > oldest+time.Millisecond || g.Oldest < oldest/2 ||
			g.Seen.Before(before.Add(-time.Minute)) { // the server's clock is this machine's clock; Seen is exact to one minute
			t.Errorf("oldest %v, want about %v; seen %v, want after %v", g.Oldest, oldest, g.Seen, before)
		}
		if _, err := bus.Group(t.Context(), "another"); !errors.Is(err, events.ErrNotFound) {
			t.Errorf("a group that is not there: %v", err)
		}
	})
}

// The age belongs to the oldest waiting event, in any place. Parked events that are done do not
// count, even if they were the heads of more channels than one look corrects.
func TestOldestFollowsTheParkedEvents(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		const channels = 100
		bus := durable(t, open(t, e.URL, e.Namespace), events.DurableOptions{Partitions: 1, Lease: time.Second})
		sub := subscriber(t, bus, "g", events.SubscriberOptions{MaxAttempts: events.NoMaxAttempts, Backoff: soon})
		release := make(chan struct{})
		must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error {
			select {
			case <-release:
				if e.Data.N == 0 {
					return nil
				}
			default:
			}
			return errors.New("no")
		}))
		run(t, sub)
		publish := func(n int) {
			for c := range channels {
				must(t, notes.Publish(t.Context(), bus, fmt.Sprint("c", c), note{N: n}))
			}
		}
		oldest := func() (least, most time.Duration) {
			began := time.Now()
			g, err := bus.Group(t.Context(), "g")
			must(t, err)
			return g.Oldest, g.Oldest + time.Since(began)
		}
		publish(0)
		rig.Eventually(t, 10*time.Second, "events of another second", func() bool { least, _ := oldest(); return least > time.Second })
		before := time.Now()
		publish(1)
		after := time.Now()
		close(release)
		rig.Eventually(t, 10*time.Second, "the first event of each channel", func() bool { return sub.Stats().Handled == channels })
		// The server has the last results after the next poll, and one look corrects 64 heads.
		rig.Eventually(t, 10*time.Second, "the age of the events that wait", func() bool {
			now := time.Now()
			least, most := oldest()
			from, to := now.Sub(after), time.Since(before)
			return most >= from-10*time.Millisecond && least <= to+10*time.Millisecond
		})
	})
}

// Stats.Oldest grows while no event is handled. A process that takes over a partition reports the
// events that wait there.
func TestOldestGrowsAndPassesOn(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
	join := func() (*events.Subscriber, func()) {
		bus := durable(t, client, events.DurableOptions{Partitions: 1, Lease: time.Second})
		sub := subscriber(t, bus, "g", events.SubscriberOptions{Backoff: func(int) time.Duration { return time.Hour }})
		must(t, notes.Handle(sub, "*", func(context.Context, events.Event[note]) error { return errors.New("no") }))
		return sub, run(t, sub)
	}
	first, stop := join()
	must(t, notes.Publish(t.Context(), durable(t, client, events.DurableOptions{Partitions: 1, Lease: time.Second}), "a", note{}))
	rig.Eventually(t, 20*time.Second, "the age of the parked event",
		func() bool { return first.Stats().Waiting == 1 && first.Stats().Oldest > 0 })
	age := first.Stats().Oldest
	rig.Eventually(t, 5*time.Second, "a greater age", func() bool { return first.Stats().Oldest > age+500*time.Millisecond })
	stop()
	second, _ := join()
	rig.Eventually(t, 10*time.Second, "the age in the next process",
		func() bool { return second.Stats().Oldest > age+500*time.Millisecond })
}

// Groups are listed by name, in pages. The list includes groups that only one partition has, and
// groups with odd names.
func TestGroupsAreListed(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		bus := durable(t, open(t, e.URL, e.Namespace), events.DurableOptions{Partitions: 3, Lease: time.Second})
		for _, name := range oddNames {
			sub := subscriber(t, bus, name, events.SubscriberOptions{})
			must(t, notes.Handle(sub, "*", func(context.Context, events.Event[note]) error { return nil }))
			run(t, sub)()
		}
		must(t, bus.RegisterAlone(t.Context(), "alone", 2))
		want := append(slices.Clone(oddNames), "alone")
		slices.Sort(want)
		var got []string
		for after := ""; ; {
			page, err := bus.Groups(t.Context(), after, 3)
			must(t, err)
			for _, g := range page {
				got = append(got, g.Name)
			}
			if len(page) < 3 {
				break
			}
			after = page[2].Name
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		for _, name := range want {
			must(t, bus.DropGroup(t.Context(), name))
		}
		if left, err := bus.Groups(t.Context(), "", 100); err != nil || len(left) != 0 {
			t.Errorf("left %v, %v", left, err)
		}
	})
}

// A group without processes keeps its events until it is dropped, and AbandonedGroups lists it. A
// running group is not listed.
func TestAbandonedGroupsAreListedAndDropped(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		bus := durable(t, open(t, e.URL, e.Namespace), events.DurableOptions{Lease: time.Second})
		nothing := func(context.Context, events.Event[note]) error { return nil }
		start := func(name string) func() {
			sub := subscriber(t, bus, name, events.SubscriberOptions{})
			must(t, notes.Handle(sub, "*", nothing))
			return run(t, sub)
		}
		start("runs")
		start("left")()
		must(t, bus.RegisterAlone(t.Context(), "ancient", 1))
		must(t, notes.Publish(t.Context(), bus, "a", note{}))
		abandoned := func(idle time.Duration) (names []string) {
			all, err := bus.AbandonedGroups(t.Context(), idle)
			must(t, err)
			for _, g := range all {
				names = append(names, g.Name)
			}
			return names
		}
		if got := abandoned(time.Hour); !slices.Equal(got, []string{"ancient"}) {
			t.Errorf("without a process for an hour: %q", got)
		}
		if got := abandoned(0); !slices.Equal(got, []string{"ancient", "left"}) {
			t.Errorf("without a process now: %q", got)
		}
		if err := bus.DropGroup(t.Context(), "runs"); !errors.Is(err, events.ErrRunning) {
			t.Errorf("drop of a group that runs: %v", err)
		}
		for _, name := range abandoned(0) {
			must(t, bus.DropGroup(t.Context(), name))
		}
		all, err := bus.Groups(t.Context(), "", 10)
		must(t, err)
		if len(all) != 1 || all[0].Name != "runs" || all[0].Consumers != 1 {
			t.Errorf("groups %+v", all)
		}
		if versions, _, err := bus.TopicsOf(t.Context(), "left"); err != nil || versions != 0 {
			t.Errorf("topics of a dropped group: %d, %v", versions, err)
		}
	})
}

// After DropGroup no key of the group stays: no parked lists, retries, attempts and dead letters.
func TestNothingOfADroppedGroupStays(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	bus := durable(t, open(t, server.URL(), "app"), events.DurableOptions{Lease: time.Second})
	sub := subscriber(t, bus, "left", events.SubscriberOptions{Backoff: func(int) time.Duration { return time.Hour }})
	must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error {
		if e.Channel == "dies" {
			return events.Discard(nil)
		}
		return errors.New("no")
	}))
	stop := run(t, sub)
	for n := range 10 {
		must(t, notes.Publish(t.Context(), bus, fmt.Sprint("c", n%5), note{N: n}))
	}
	must(t, notes.Publish(t.Context(), bus, "dies", note{}))
	rig.Eventually(t, 20*time.Second, "parked events and a dead letter",
		func() bool { s := sub.Stats(); return s.Waiting == 10 && s.Dead == 1 })
	stop()

	keys := func() (of []string) {
		for key := range strings.Lines(server.CLI("KEYS", "*")) {
			if strings.Contains(key, "left") {
				of = append(of, strings.TrimSpace(key))
			}
		}
		return of
	}
	if before := keys(); len(before) < 5 {
		t.Fatalf("keys of the group: %q", before)
	}
	must(t, bus.DropGroup(t.Context(), "left"))
	if after := keys(); len(after) != 0 {
		t.Errorf("keys of the dropped group: %q", after)
	}
}

// With 10,000 groups, a page costs a bounded number of bytes and calls, and other commands do not
// wait for it.
func TestListingManyGroupsIsBounded(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	server := rig.Standalone(t)
	bus := durable(t, open(t, server.URL(), "app"), events.DurableOptions{Partitions: 2})
	const many = 10_000
	names := make([]string, many)
	for i := range names {
		names[i] = fmt.Sprintf("group-%05d", i)
	}
	for i := 0; i < many; i += 500 {
		must(t, bus.RegisterAlone(t.Context(), "", 0, names[i:i+500]...))
	}
	proxy := rig.NewProxy(t, server.Addr())
	reader := durable(t, open(t, proxy.URL(), "app"), events.DurableOptions{Partitions: 2})
	must(t, notes.Publish(t.Context(), reader, "a", note{}))
	before := proxy.Received()
	page, err := reader.Groups(t.Context(), "group-05000", 100)
	must(t, err)
	if len(page) != 100 || page[0].Name != "group-05001" || page[99].Name != "group-05100" {
		t.Errorf("%d groups from %+v", len(page), page[0])
	}
	if n := proxy.Received() - before; n > 1<<20 {
		t.Errorf("a page of 100 groups read %d bytes", n)
	}
	longest := server.CLI("SLOWLOG", "GET", "1")
	t.Logf("longest command: %.200q", longest)
}

// The gauges of a group stay when no process runs it, so that an alarm can report a group that
// stopped. One process of the bus reports them.
func TestGaugesOfAGroupWithoutAProcess(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := open(t, e.URL, e.Namespace)
		bus := durable(t, client, events.DurableOptions{Lease: time.Second})
		rig.Arm(t, bus.Points(), "pass", failpoint.Lasts(100*time.Millisecond))
		sub := subscriber(t, bus, "stopped", events.SubscriberOptions{MaxAttempts: 1})
		must(t, notes.Handle(sub, "*", func(context.Context, events.Event[note]) error { return errors.New("no") }))
		stop := run(t, sub)
		must(t, notes.Publish(t.Context(), bus, "a", note{}))
		rig.Eventually(t, 10*time.Second, "a dead letter",
			func() bool { n, err := bus.DeadLetters("stopped").Count(t.Context()); return err == nil && n == 1 })
		stop()
		other := durable(t, open(t, e.URL, e.Namespace), events.DurableOptions{Lease: time.Second})
		for range 7 {
			must(t, notes.Publish(t.Context(), other, "a", note{}))
		}
		must(t, notes.Publish(t.Context(), other, "b", note{}, events.Delay(time.Hour)))
		must(t, bus.Pause(t.Context(), "stopped"))
		rig.Eventually(t, 10*time.Second, "the gauges", func() bool {
			values := map[string]float64{}
			rows := 0
			for m := range client.Metrics() {
				for _, l := range m.Labels {
					if l.Name == "subscriber" && l.Value == "stopped" {
						values[m.Name] = m.Value
						rows++
					}
				}
			}
			return rows == 6 && values["redstart.events.lag"] == 7 && values["redstart.events.dead"] == 1 &&
				values["redstart.events.delayed"] == 1 &&
				values["redstart.events.paused"] == 1 && values["redstart.events.oldest_pending"] > 0
		})
	})
}
