package events_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// A subscriber refuses each option that its kind of bus can't honour, and the error names the
// option.
func TestSubscriberOptionsOfTheOtherBusAreRefused(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
	liveBus, err := events.NewLive(client, events.LiveOptions{})
	must(t, err)
	durableBus, err := events.NewDurable(client, "bus", events.DurableOptions{})
	must(t, err)

	for _, refused := range []struct {
		bus    events.Bus
		option string
		opts   events.SubscriberOptions
	}{
		{liveBus, "MaxAttempts", events.SubscriberOptions{MaxAttempts: events.NoMaxAttempts}},
		{liveBus, "Backoff", events.SubscriberOptions{Backoff: events.Exponential(1, 2)}},
		{liveBus, "HandlerTimeout", events.SubscriberOptions{HandlerTimeout: time.Second}},
		{liveBus, "Unhandled", events.SubscriberOptions{Unhandled: events.DeadLetterUnhandled}},
		{liveBus, "Start", events.SubscriberOptions{Start: events.FromBeginning()}},
		{liveBus, "Inbox", events.SubscriberOptions{Inbox: time.Second}},
		{durableBus, "Queue", events.SubscriberOptions{Queue: 1}},
		{durableBus, "QueueBytes", events.SubscriberOptions{QueueBytes: 1}},
		{durableBus, "Overflow", events.SubscriberOptions{Overflow: events.Disconnect}},
	} {
		_, err := refused.bus.Subscriber("s", refused.opts)
		if err == nil || !strings.Contains(err.Error(), "SubscriberOptions."+refused.option+" is set") {
			t.Errorf("%T with %s: %v, want an error that names the option", refused.bus, refused.option, err)
		}
	}
	for _, bus := range []events.Bus{liveBus, durableBus} { // the control: what both can honour
		opts := events.SubscriberOptions{Concurrency: 2, DrainTimeout: events.NoDrainTimeout, Start: events.FromNow()}
		if _, err := bus.Subscriber("s", opts); err != nil {
			t.Errorf("%T: %v", bus, err)
		}
	}
}

// A Receipt of a duplicate has no Position. A group that starts there would silently start now.
func TestStartFromAnEmptyPositionIsRefused(t *testing.T) {
	t.Parallel()
	bus, err := events.NewDurable(open(t, rig.Shared(t).URL(), rig.Prefix(t)), "bus", events.DurableOptions{})
	must(t, err)
	for _, position := range []string{"", "0", "x"} {
		_, err := bus.Subscriber("s", events.SubscriberOptions{Start: events.FromPosition(position)})
		if err == nil || !strings.Contains(err.Error(), "SubscriberOptions.Start") {
			t.Errorf("position %q: %v, want an error that names the option", position, err)
		}
	}
	for _, start := range []events.Start{
		events.FromNow(), events.FromBeginning(), events.FromTime(time.Now()), events.FromPosition("1-1"),
	} {
		if _, err := bus.Subscriber("s", events.SubscriberOptions{Start: start}); err != nil {
			t.Errorf("%+v: %v", start, err)
		}
	}
}

// A live bus makes one attempt: options of a handler that need more are refused by name.
func TestHandleOptionsAreRefusedByALiveBus(t *testing.T) {
	t.Parallel()
	bus, err := events.NewLive(open(t, rig.Shared(t).URL(), rig.Prefix(t)), events.LiveOptions{})
	must(t, err)
	sub := subscriber(t, bus, "s", events.SubscriberOptions{})
	handle := func(context.Context, events.Event[note]) error { return nil }
	for name, option := range map[string]events.HandleOption{
		"MaxAttempts": events.MaxAttempts(3),
		"Backoff":     events.Backoff(events.Exponential(1, 2)),
	} {
		if err := notes.Handle(sub, "a", handle, option); err == nil || !strings.Contains(err.Error(), "option "+name) {
			t.Errorf("%s: %v, want an error that names the option", name, err)
		}
	}
}

// Answer needs a live bus: a durable subscriber is refused, and not left without answers.
func TestAnswerRefusesADurableSubscriber(t *testing.T) {
	t.Parallel()
	bus, err := events.NewDurable(open(t, rig.Shared(t).URL(), rig.Prefix(t)), "bus", events.DurableOptions{})
	must(t, err)
	sub := subscriber(t, bus, "g", events.SubscriberOptions{})
	err = events.Answer(sub, notes, "a", func(context.Context, events.Event[note]) (note, error) { return note{}, nil })
	if err == nil || !strings.Contains(err.Error(), "durable bus") {
		t.Errorf("%v, want an error that names the durable bus", err)
	}
}
