package redstarttest_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/redstarttest"
)

// After Drain, all events are handled, also those that a handler publishes to another bus.
func TestDrain(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		server := redstarttest.Start(t)
		orders, mails := newBus(t, server, "orders"), newBus(t, server, "mails")
		var sent atomic.Int64
		run(t, mails, func(context.Context, events.Event[int]) error { sent.Add(1); return nil })
		release := make(chan struct{})
		run(t, orders, func(ctx context.Context, e events.Event[int]) error {
			<-release
			return counted.Publish(ctx, mails, "numbers", e.Data)
		})
		for n := range 20 {
			publish(t, orders, n)
		}
		if sent.Load() != 0 {
			t.Error("an event was handled before its handler returned")
		}
		close(release)
		redstarttest.Drain(server, orders, mails)
		if n := sent.Load(); n != 20 {
			t.Errorf("after Drain, %d of 20 events were handled", n)
		}
		server.RequireNoKeysWithoutTTL("events:")
		wantFailure(t, func(spy testing.TB) { server.On(spy).RequireNoKeysWithoutTTL() }, ":events:", "never expire")
	})
}

// Published returns what was sent, in order, once per event, on both kinds of bus.
func TestPublished(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		server := redstarttest.Start(t)
		live, err := events.NewLive(server.Client(), events.LiveOptions{})
		if err != nil {
			t.Fatal(err)
		}
		durable := newBus(t, server, "orders")
		publish(t, live, 1)
		publish(t, durable, 2)
		publish(t, durable, 3, events.ID("three"))
		publish(t, durable, 3, events.ID("three"))
		var batch events.Batch
		counted.AddToBatch(&batch, "numbers", 4)
		counted.AddToBatch(&batch, "elsewhere", 5)
		if err := durable.PublishBatch(t.Context(), &batch); err != nil {
			t.Fatal(err)
		}
		if err := events.NewTopic[string]("other").Publish(t.Context(), durable, "numbers", "text"); err != nil {
			t.Fatal(err)
		}
		for channel, want := range map[string][]int{"numbers": {1, 2, 3, 4}, "elsewhere": {5}, "nowhere": nil} {
			if got := redstarttest.Published[int](server, counted, channel); !slices.Equal(got, want) {
				t.Errorf("channel %q: published %v, want %v", channel, got, want)
			}
		}
	})
}

func TestEventsMisuse(t *testing.T) {
	wantFailure(t, func(t testing.TB) {
		server := redstarttest.Start(t)
		bus, err := events.NewDurable(server.Client(), "orders", events.DurableOptions{Partitions: 2})
		if err != nil {
			t.Fatal(err)
		}
		redstarttest.Drain(server, bus)
	}, "bus 0 has no group", "run a subscriber")
	wantFailure(t, func(tb testing.TB) {
		server := redstarttest.Start(tb)
		publish(t, newBus(t, server, "orders"), 1)
		redstarttest.Published[string](server, counted, "numbers")
	}, `"counted" does not fit into string`, "type of the topic")
}
