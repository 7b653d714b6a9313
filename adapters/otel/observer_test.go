package redstartotel_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/redstart-go/redstart"
	redstartotel "github.com/redstart-go/redstart/adapters/otel"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/observe"
)

func attributesOf(span sdk.ReadOnlySpan) map[string]string {
	all := map[string]string{}
	for _, a := range span.Attributes() {
		all[string(a.Key)] = a.Value.String()
	}
	return all
}

func TestSpansFollowTheSemanticConventions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		op         observe.Operation
		name       string
		kind       trace.SpanKind
		attributes map[string]string
	}{
		{observe.Operation{Pattern: "cache", Name: "users", Verb: "get or load"}, "cache.get or load users", trace.SpanKindClient,
			map[string]string{"db.system.name": "redis", "db.operation.name": "cache.get or load", "db.collection.name": "users",
				"redstart.pattern": "cache", "redstart.name": "users", "redstart.verb": "get or load"}},
		{observe.Operation{Pattern: "lock", Verb: "acquire"}, "lock.acquire", trace.SpanKindClient,
			map[string]string{"db.system.name": "redis", "db.operation.name": "lock.acquire",
				"redstart.pattern": "lock", "redstart.verb": "acquire"}},
		{observe.Operation{Pattern: "events", Name: "orders", Verb: "publish"}, "publish orders", trace.SpanKindProducer,
			map[string]string{"messaging.system": "redis", "messaging.operation.name": "publish", "messaging.operation.type": "send",
				"messaging.destination.name": "orders",
				"redstart.pattern":           "events", "redstart.name": "orders", "redstart.verb": "publish"}},
		{observe.Operation{Pattern: "events", Name: "orders", Verb: "handle", Subscriber: "mail"}, "handle orders", trace.SpanKindConsumer,
			map[string]string{"messaging.system": "redis", "messaging.operation.name": "handle", "messaging.operation.type": "process",
				"messaging.destination.name": "orders", "messaging.consumer.group.name": "mail",
				"redstart.pattern": "events", "redstart.name": "orders", "redstart.verb": "handle"}},
	} {
		p := newProbe(t)
		_, end := p.Start(t.Context(), tt.op)
		end(nil)
		spans := p.spans.Ended()
		if len(spans) != 1 {
			t.Fatalf("%v: %d spans", tt.op, len(spans))
		}
		s := spans[0]
		if s.Name() != tt.name || s.SpanKind() != tt.kind || s.Status().Code != codes.Unset || len(s.Links()) != 0 {
			t.Errorf("%v: span %q, kind %v, status %v, links %v", tt.op, s.Name(), s.SpanKind(), s.Status(), s.Links())
		}
		if got := attributesOf(s); !maps.Equal(got, tt.attributes) {
			t.Errorf("%v: attributes\n%v, want\n%v", tt.op, got, tt.attributes)
		}
		if url := s.InstrumentationScope().SchemaURL; !strings.HasSuffix(url, "/1.43.0") {
			t.Errorf("the schema is %q, and the documentation names 1.43.0", url)
		}
	}
}

// loud is an error whose methods panic.
type loud struct{}

func (loud) Error() string    { panic("loud") }
func (loud) Is(error) bool    { panic("loud") }
func (loud) String() string   { return "loud" }
func (loud) GoString() string { return "loud" }

func TestSpansOfFailedOperations(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 1000) // 2,000 bytes, and the limit cuts a character
	for _, tt := range []struct {
		err         error
		class, text string
	}{
		{fmt.Errorf("lock: %w", redstart.ErrUnavailable), "unavailable", "server unavailable"},
		{context.Canceled, "canceled", "context canceled"},
		{errors.New("boom"), "_OTHER", "boom"},
		{errors.New("a" + long), "_OTHER", "é"},
		{loud{}, "_OTHER", "panicked"},
	} {
		p := newProbe(t)
		_, end := p.Start(t.Context(), observe.Operation{Pattern: "cache", Name: "users", Verb: "get"})
		end(tt.err)
		s := p.spans.Ended()[0]
		status := s.Status()
		if status.Code != codes.Error || !strings.Contains(status.Description, tt.text) {
			t.Errorf("%s: status %v", tt.class, status)
		}
		if len(status.Description) > 1100 || !utf8.ValidString(status.Description) {
			t.Errorf("%s: the description has %d bytes", tt.class, len(status.Description))
		}
		if got := attributesOf(s)["error.type"]; got != tt.class {
			t.Errorf("error.type is %q, want %q", got, tt.class)
		}
	}
}

// A loader's span is a child of the span of the cache operation.
func TestSpansAreTheParentsOfCallbacks(t *testing.T) {
	t.Parallel()
	p := newProbe(t)
	users, err := cache.New[int](open(t, p.Observer), "users", cache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var inside trace.SpanContext
	if _, err := users.GetOrLoad(t.Context(), "1", func(ctx context.Context, _ string) (int, error) {
		inside = trace.SpanContextFromContext(ctx)
		return 1, nil
	}); err != nil {
		t.Fatal(err)
	}
	spans := p.spans.Ended()
	if len(spans) != 1 || spans[0].Name() != "cache.get or load users" || spans[0].SpanContext().SpanID() != inside.SpanID() {
		t.Errorf("the loader ran in span %v, and %d spans ended", inside.SpanID(), len(spans))
	}
}

// Beyond 1,000 operations, the names share one series and the map does not grow.
func TestSeriesAreBounded(t *testing.T) {
	t.Parallel()
	p := newProbe(t)
	for i := range 3000 {
		op := observe.Operation{Pattern: "cache", Name: fmt.Sprint("users-", i), Verb: "get"}
		p.Record(t.Context(), op, observe.Wait, time.Millisecond)
	}
	if n := redstartotel.SeriesOf(p.Observer); n != 1000 {
		t.Errorf("the observer keeps %d series, want 1000", n)
	}
	points := p.points(t, "redstart.operation.wait")
	other := attribute.NewSet(attribute.String("pattern", "cache"), attribute.String("name", "(other)"), attribute.String("verb", "get"))
	i := slices.IndexFunc(points, func(h point) bool { return h.Attributes.Equals(&other) })
	if len(points) != 1001 || i < 0 || points[i].Count != 2000 {
		t.Errorf("%d points, want 1001 with 2,000 values in (other)", len(points))
	}
}

// Without providers, the observer uses the global ones, which do nothing until they are set.
func TestGlobalProvidersAreTheDefault(t *testing.T) {
	t.Parallel()
	o, err := redstartotel.NewObserver(redstartotel.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, end := o.Start(t.Context(), observe.Operation{Pattern: "cache", Verb: "get"})
	end(errors.New("boom"))
	o.Record(t.Context(), observe.Operation{}, observe.Quantity(9), time.Second) // of a newer release
}

// BenchmarkObserver measures one operation with its span and its histogram.
func BenchmarkObserver(b *testing.B) {
	op := observe.Operation{Pattern: "cache", Name: "users", Verb: "get"}
	for name, sampler := range map[string]sdk.Sampler{"sampled": sdk.AlwaysSample(), "not sampled": sdk.NeverSample()} {
		b.Run(name, func(b *testing.B) {
			o, err := redstartotel.NewObserver(redstartotel.Options{
				TracerProvider: sdk.NewTracerProvider(sdk.WithSampler(sampler)), MeterProvider: meterProvider(b)})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				_, end := o.Start(b.Context(), op)
				end(nil)
			}
		})
	}
	b.Run("record", func(b *testing.B) {
		o, err := redstartotel.NewObserver(redstartotel.Options{MeterProvider: meterProvider(b)})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			o.Record(b.Context(), op, observe.Wait, time.Millisecond)
		}
	})
}
