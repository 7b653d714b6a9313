package redstartotel

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/observe"
)

// verbHandle is the verb of an operation that handles an event.
const verbHandle = "handle"

var _ events.TraceContext = (*Observer)(nil)

// Inject returns the span of ctx as W3C Trace Context. It implements events.TraceContext: the bus
// calls it for each event, and stores the result in the event.
func (o *Observer) Inject(ctx context.Context) (traceparent, tracestate string) {
	var c carrier
	propagation.TraceContext{}.Inject(ctx, &c)
	return c.parent, c.state
}

// Extract returns a context with the span that published an event. It implements
// events.TraceContext. The span that handles the event has a link to the publishing span, and is
// not its child: the semantic conventions recommend links, because an event has any number of
// consumers, possibly much later.
func (o *Observer) Extract(ctx context.Context, traceparent, tracestate string) context.Context {
	c := carrier{traceparent, tracestate}
	published := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), &c))
	if !published.IsValid() {
		return ctx
	}
	return context.WithValue(ctx, publishedKey{}, published)
}

// publishedKey is the key of the span context that published an event.
type publishedKey struct{}

// linkOf returns the link from the span that handles an event to the span that published it.
func linkOf(ctx context.Context, op observe.Operation) (trace.Link, bool) {
	if op.Pattern != "events" || op.Verb != verbHandle {
		return trace.Link{}, false
	}
	published, ok := ctx.Value(publishedKey{}).(trace.SpanContext)
	return trace.Link{SpanContext: published}, ok
}

// carrier has the two fields of W3C Trace Context. It implements propagation.TextMapCarrier without
// a map.
type carrier struct{ parent, state string }

func (c *carrier) field(key string) *string {
	switch key {
	case "traceparent":
		return &c.parent
	case "tracestate":
		return &c.state
	}
	return new(string)
}

// Get returns a field.
func (c *carrier) Get(key string) string { return *c.field(key) }

// Set sets a field.
func (c *carrier) Set(key, value string) { *c.field(key) = value }

// Keys returns the names of the fields.
func (c *carrier) Keys() []string { return []string{"traceparent", "tracestate"} }
