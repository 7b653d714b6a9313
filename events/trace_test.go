package events_test

import (
	"context"
	"testing"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/observe"
)

// plainObserver observes nothing and carries no trace.
type plainObserver struct{}

func (plainObserver) Start(ctx context.Context, _ observe.Operation) (context.Context, func(error)) {
	return ctx, nil
}

// tracingObserver is an Observer and a TraceContext. Its trace has a name.
type tracingObserver struct {
	plainObserver
	name string
}

func (o tracingObserver) Inject(context.Context) (traceparent, tracestate string) {
	return "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "by=" + o.name
}

func (tracingObserver) Extract(ctx context.Context, _, tracestate string) context.Context {
	return context.WithValue(ctx, traceKey{}, tracestate)
}

// Without the option Trace, the Observer of the client carries traces, also as one of several. The
// option wins. An Observer without traces carries none.
func TestTheObserverOfTheClientCarriesTraces(t *testing.T) {
	t.Parallel()
	first, option := tracingObserver{name: "first"}, tracingObserver{name: "option"}
	for name, c := range map[string]struct {
		observer observe.Observer
		option   events.TraceContext
		want     any
	}{
		"alone":    {first, nil, "by=first"},
		"several":  {observe.Multi(plainObserver{}, observe.Multi(plainObserver{}, first), option), nil, "by=first"},
		"option":   {first, option, "by=option"},
		"no trace": {observe.Multi(plainObserver{}, plainObserver{}), nil, nil},
	} {
		for _, kind := range []string{"live", "durable"} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				client := open(t, rig.Shared(t).URL(), rig.Prefix(t), func(cfg *redstart.Config) { cfg.Observer = c.observer })
				var bus events.Bus = durable(t, client, events.DurableOptions{Trace: c.option})
				if kind == "live" {
					live, err := events.NewLive(client, events.LiveOptions{Trace: c.option})
					must(t, err)
					bus = live
				}
				sub := subscriber(t, bus, "group", events.SubscriberOptions{})
				got := make(chan any, 1)
				must(t, notes.Handle(sub, "*", func(ctx context.Context, _ events.Event[note]) error {
					got <- ctx.Value(traceKey{})
					return nil
				}))
				run(t, sub)
				must(t, notes.Publish(t.Context(), bus, "users:1", note{}))
				if trace := arrives(t, "the event", got); trace != c.want {
					t.Errorf("the handler's trace is %v, want %v", trace, c.want)
				}
			})
		}
	}
}
