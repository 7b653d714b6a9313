package redstartotel_test

import (
	"context"
	"testing"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/observe"
)

// The span of a handler has a link to the span that published the event, and no parent from there.
func TestHandlersLinkToTheSpanThatPublished(t *testing.T) {
	t.Parallel()
	for kind, newBus := range map[string]func(*redstart.Client, events.TraceContext) (events.Bus, error){
		"live": func(c *redstart.Client, trace events.TraceContext) (events.Bus, error) {
			return events.NewLive(c, events.LiveOptions{Trace: trace})
		},
		"orders": func(c *redstart.Client, trace events.TraceContext) (events.Bus, error) {
			return events.NewDurable(c, "orders", events.DurableOptions{Trace: trace})
		},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p := newProbe(t)
			bus, err := newBus(open(t, p.Observer), p.Observer)
			if err != nil {
				t.Fatal(err)
			}
			sub, err := bus.Subscriber("mail", events.SubscriberOptions{})
			if err != nil {
				t.Fatal(err)
			}
			inside := make(chan trace.SpanContext, 1)
			topic := events.NewTopic[int]("link")
			if err := topic.Handle(sub, "*", func(ctx context.Context, _ events.Event[int]) error {
				inside <- trace.SpanContextFromContext(ctx)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- sub.Run(ctx) }()
			<-sub.Ready()

			state, err := trace.ParseTraceState("vendor=1")
			if err != nil {
				t.Fatal(err)
			}
			request, root := p.provider.Tracer("test").Start(
				trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
					TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, TraceFlags: trace.FlagsSampled, TraceState: state})), "request")
			if err := topic.Publish(request, bus, "users:1", 1); err != nil {
				t.Fatal(err)
			}
			root.End()
			handler := <-inside
			stop()
			if err := <-ended; err != nil {
				t.Fatal(err)
			}

			published, handled := p.only(t, "publish "+kind), p.only(t, "handle "+kind)
			if published.Parent().SpanID() != root.SpanContext().SpanID() {
				t.Error("the publishing span is no child of the request")
			}
			if handled.SpanContext().SpanID() != handler.SpanID() {
				t.Error("the handler did not run in its span")
			}
			if handled.Parent().IsValid() || handled.SpanContext().TraceID() == published.SpanContext().TraceID() {
				t.Errorf("the handler's span has the parent %v", handled.Parent())
			}
			if links := handled.Links(); len(links) != 1 || links[0].SpanContext.SpanID() != published.SpanContext().SpanID() ||
				links[0].SpanContext.TraceID() != published.SpanContext().TraceID() || !links[0].SpanContext.IsRemote() ||
				links[0].SpanContext.TraceState().Get("vendor") != "1" {
				t.Errorf("the links are %+v, want one to %v", links, published.SpanContext())
			}
		})
	}
}

// only returns the one ended span of a name.
func (p *probe) only(t *testing.T, name string) (found sdk.ReadOnlySpan) {
	t.Helper()
	for _, s := range p.spans.Ended() {
		if s.Name() == name {
			if found != nil {
				t.Fatalf("two spans have the name %q", name)
			}
			found = s
		}
	}
	if found == nil {
		t.Fatalf("no span has the name %q", name)
	}
	return found
}

// The events of a batch carry the span of the batch.
func TestBatchesHaveASpan(t *testing.T) {
	t.Parallel()
	p := newProbe(t)
	bus, err := events.NewDurable(open(t, p.Observer), "orders", events.DurableOptions{Trace: p.Observer})
	if err != nil {
		t.Fatal(err)
	}
	sub, err := bus.Subscriber("mail", events.SubscriberOptions{Start: events.FromBeginning()})
	if err != nil {
		t.Fatal(err)
	}
	topic, handled := events.NewTopic[int]("batch"), make(chan struct{}, 2)
	if err := topic.Handle(sub, "*", func(context.Context, events.Event[int]) error {
		handled <- struct{}{}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	var batch events.Batch
	topic.AddToBatch(&batch, "a", 1)
	topic.AddToBatch(&batch, "b", 2)
	if err := bus.PublishBatch(t.Context(), &batch); err != nil {
		t.Fatal(err)
	}
	published := p.only(t, "publish batch orders")
	if published.SpanKind() != trace.SpanKindProducer {
		t.Errorf("the kind is %v", published.SpanKind())
	}

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- sub.Run(ctx) }()
	<-handled
	<-handled
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	links := 0
	for _, s := range p.spans.Ended() {
		for _, link := range s.Links() {
			links++
			if link.SpanContext.SpanID() != published.SpanContext().SpanID() {
				t.Errorf("%s links to another span", s.Name())
			}
		}
	}
	if links != 2 {
		t.Errorf("%d links, want one per event", links)
	}
}

// What a handler does has no link: only the handler's span has it.
func TestOnlyTheHandlersSpanLinks(t *testing.T) {
	t.Parallel()
	p := newProbe(t)
	ctx := p.Extract(t.Context(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "")
	for _, op := range []observe.Operation{
		{Pattern: "events", Name: "orders", Verb: "publish"},
		{Pattern: "cache", Name: "users", Verb: "handle"},
		{Pattern: "events", Name: "orders", Verb: "handle", Subscriber: "mail"},
	} {
		_, end := p.Start(ctx, op)
		end(nil)
	}
	for i, s := range p.spans.Ended() {
		if want := i / 2; len(s.Links()) != want {
			t.Errorf("%s has %d links, want %d", s.Name(), len(s.Links()), want)
		}
	}
}

// A trace context that another program has written wrongly links to nothing.
func TestMalformedTraceContextsLinkToNothing(t *testing.T) {
	t.Parallel()
	p := newProbe(t)
	for _, parent := range []string{"", "00-", "00-00000000000000000000000000000000-0000000000000000-01", "\x00"} {
		if ctx := p.Extract(t.Context(), parent, "==="); ctx != t.Context() {
			t.Errorf("%q gave a link", parent)
		}
	}
	if parent, state := p.Inject(t.Context()); parent != "" || state != "" {
		t.Errorf("without a span: %q, %q", parent, state)
	}
}
