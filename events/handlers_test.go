package events_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// buses runs a test on both kinds of bus.
func buses(t *testing.T, trace events.TraceContext, test func(t *testing.T, client *redstart.Client, bus events.Bus)) {
	for _, kind := range []string{"live", "durable"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
			if kind == "durable" {
				test(t, client, durable(t, client, events.DurableOptions{Trace: trace}))
				return
			}
			bus, err := events.NewLive(client, events.LiveOptions{Trace: trace})
			must(t, err)
			test(t, client, bus)
		})
	}
}

// oneAttempt sets MaxAttempts to 1 on a durable bus. A live bus refuses the option, because it
// makes one attempt in any case.
func oneAttempt(bus events.Bus, opts events.SubscriberOptions) events.SubscriberOptions {
	if _, ok := bus.(*events.Durable); ok {
		opts.MaxAttempts = 1
	}
	return opts
}

// A raw handler receives every type, in addition to typed handlers. An event that no handler
// matches is counted and is not a failure.
func TestRawHandlersAndUnhandledEvents(t *testing.T) {
	t.Parallel()
	others := events.NewTopic[[]int]("numbers")
	buses(t, nil, func(t *testing.T, client *redstart.Client, bus events.Bus) {
		sub := subscriber(t, bus, "group", events.SubscriberOptions{})
		raw, typed := make(chan events.Event[json.RawMessage], 10), make(chan events.Event[note], 10)
		must(t, sub.HandleRaw("users:*", func(_ context.Context, e events.Event[json.RawMessage]) error { raw <- e; return nil }))
		must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error { typed <- e; return nil }))
		run(t, sub)
		must(t, others.Publish(t.Context(), bus, "orders:1", []int{0})) // no handler matches
		must(t, others.Publish(t.Context(), bus, "users:1", []int{1, 2}))
		must(t, notes.Publish(t.Context(), bus, "users:1", note{N: 3}))
		for _, want := range []struct{ kind, data string }{{"numbers", "[1,2]"}, {"note", `{"n":3}`}} {
			if e := arrives(t, "a raw event", raw); e.Type != want.kind || string(e.Data) != want.data || e.Channel != "users:1" {
				t.Errorf("got %s %s of %s, want %v", e.Type, e.Data, e.Channel, want)
			}
		}
		if e := arrives(t, "a note", typed); e.Data.N != 3 {
			t.Errorf("got %+v", e.Data)
		}
		rig.Eventually(t, 10*time.Second, "all are counted", func() bool { s := sub.Stats(); return s.Handled+s.Unhandled == 3 })
		if s := sub.Stats(); s.Unhandled != 1 || s.Failed != 0 || s.DeadLettered != 0 {
			t.Errorf("stats %+v", s)
		}
		wantMetric(t, client, "redstart.events.unhandled", 1)
		wantMetric(t, client, "redstart.events.handled", 2)
		wantMetric(t, client, "redstart.events.published", 3)
	})
}

// wantMetric compares one metric of the client.
func wantMetric(t *testing.T, client *redstart.Client, name string, want float64) {
	t.Helper()
	var all []string
	for m := range client.Metrics() {
		if m.Name == name && m.Value == want {
			return
		}
		all = append(all, fmt.Sprint(m.Name, m.Labels, " ", m.Value))
	}
	t.Errorf("no %s of %v in %v", name, want, all)
}

type traceKey struct{}

// tracer is a TraceContext that carries one text.
type tracer struct{}

func (tracer) Inject(ctx context.Context) (traceparent, tracestate string) {
	parent, _ := ctx.Value(traceKey{}).(string)
	return parent, "vendor=1"
}

func (tracer) Extract(ctx context.Context, traceparent, tracestate string) context.Context {
	return context.WithValue(ctx, traceKey{}, traceparent+" "+tracestate)
}

// The handler receives the trace of the publisher.
func TestTraceContextIsCarried(t *testing.T) {
	t.Parallel()
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	buses(t, tracer{}, func(t *testing.T, _ *redstart.Client, bus events.Bus) {
		sub := subscriber(t, bus, "group", events.SubscriberOptions{})
		got := make(chan any, 1)
		must(t, notes.Handle(sub, "*", func(ctx context.Context,
			_ events.Event[note]) error {
			got <- ctx.Value(traceKey{})
			return nil
		}))
		run(t, sub)
		must(t, notes.Publish(context.WithValue(t.Context(), traceKey{}, parent), bus, "users:1", note{}))
		if trace := arrives(t, "the event", got); trace != parent+" vendor=1" {
			t.Errorf("the handler's trace is %v", trace)
		}
	})
}

// arrives returns the value that arrives on a channel within 10 s.
func arrives[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(10 * time.Second):
		t.Fatalf("not within 10s: %s", what)
	}
	panic("unreachable")
}
