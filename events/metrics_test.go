package events_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/failpoint"
	"github.com/redstart-go/redstart/internal/rig"
)

// Two bus values of one name on one client are one bus in the metrics. Waiting events are counted
// once, the age of the oldest event is a maximum, and "paused" is 0 or 1.
func TestMetricsOfBusesOfOneName(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
	const waiting = 40
	metric := func(name, group string) (value float64, rows int) {
		for m := range client.Metrics() {
			if m.Name == "redstart.events."+name && len(m.Labels) == 3 && m.Labels[2].Value == group {
				value, rows = m.Value, rows+1
			}
		}
		return value, rows
	}
	var buses []*events.Durable
	var subs []*events.Subscriber
	for range 2 {
		bus := durable(t, client, events.DurableOptions{Partitions: 8, Lease: time.Second})
		rig.Arm(t, bus.Points(), "pass", failpoint.Lasts(200*time.Millisecond))
		buses = append(buses, bus)
	}
	left := subscriber(t, buses[0], "left", events.SubscriberOptions{})
	must(t, notes.Handle(left, "*", func(context.Context, events.Event[note]) error { return nil }))
	run(t, left)()
	for _, bus := range buses {
		sub := subscriber(t, bus, "g", events.SubscriberOptions{Backoff: func(int) time.Duration { return time.Hour }})
		must(t, notes.Handle(sub, "*", func(context.Context, events.Event[note]) error { return errors.New("no") }))
		run(t, sub)
		subs = append(subs, sub)
	}
	rig.Eventually(t, 30*time.Second, "both own partitions",
		func() bool { return subs[0].Stats().Partitions == 4 && subs[1].Stats().Partitions == 4 })
	for n := range waiting {
		must(t, notes.Publish(t.Context(), buses[n%2], fmt.Sprint("c", n), note{}))
	}

	rig.Eventually(t, 30*time.Second, "both own a part of what waits, which is older than 1 s", func() bool {
		a, b := subs[0].Stats(), subs[1].Stats()
		return a.Lag+b.Lag == waiting && min(a.Oldest, b.Oldest) > time.Second
	})
	before := max(subs[0].Stats().Oldest, subs[1].Stats().Oldest)
	age, _ := metric("oldest_pending", "g")
	after := max(subs[0].Stats().Oldest, subs[1].Stats().Oldest)
	if age < before.Seconds() || age > after.Seconds() {
		t.Errorf("the oldest event is %v s old, want %v to %v", age, before, after)
	}
	if lag, rows := metric("lag", "g"); lag != waiting || rows != 1 {
		t.Errorf("lag %v in %d rows, want %d in one", lag, rows, waiting)
	}
	rig.Eventually(t, 30*time.Second, "the group that has left", func() bool { lag, _ := metric("lag", "left"); return lag > 0 })
	if lag, rows := metric("lag", "left"); lag != waiting || rows != 1 {
		t.Errorf("lag of the group that has left: %v in %d rows, want %d in one", lag, rows, waiting)
	}
	must(t, buses[0].Pause(t.Context(), "g"))
	rig.Eventually(t, 30*time.Second, "both are paused", func() bool { return subs[0].Stats().Paused && subs[1].Stats().Paused })
	if paused, rows := metric("paused", "g"); paused != 1 || rows != 1 {
		t.Errorf("paused is %v in %d rows, want 1 in one", paused, rows)
	}

	// Close of one bus value removes only its own part.
	must(t, buses[1].Close(t.Context()))
	if _, rows := metric("paused", "g"); rows != 1 {
		t.Errorf("%d rows after one of the buses was closed, want one", rows)
	}
	must(t, buses[0].Close(t.Context()))
	if _, rows := metric("paused", "g"); rows != 0 {
		t.Errorf("%d rows after both buses were closed, want none", rows)
	}
}

// A bus holds the subscribers that run. A subscriber without Run has no metrics and is not kept.
func TestMetricsOfSubscribersThatRun(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
	live, err := events.NewLive(client, events.LiveOptions{})
	must(t, err)
	rows := func(name string) (n int) {
		for m := range client.Metrics() {
			if m.Name == "redstart.events.received" && len(m.Labels) == 3 && m.Labels[2].Value == name {
				n++
			}
		}
		return n
	}
	for _, bus := range []events.Bus{live, durable(t, client, events.DurableOptions{})} {
		name := fmt.Sprintf("of %T", bus)
		sub := subscriber(t, bus, name, events.SubscriberOptions{})
		if err := sub.Run(t.Context()); err == nil { // no handler is registered
			t.Errorf("%s: Run without a handler returned nil", name)
		}
		if n := rows(name); n != 0 {
			t.Errorf("%s: %d rows before Run, want none", name, n)
		}
		must(t, notes.Handle(sub, "a", func(context.Context, events.Event[note]) error { return nil }))
		stop := run(t, sub)
		if n := rows(name); n != 1 {
			t.Errorf("%s: %d rows during Run, want one", name, n)
		}
		stop()
		if n := rows(name); n != 0 {
			t.Errorf("%s: %d rows after Run, want none", name, n)
		}
	}
}
