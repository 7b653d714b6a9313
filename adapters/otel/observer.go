package redstartotel

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/observe"
)

// scope is the name of the instrumentation in traces and metrics.
const scope = "github.com/redstart-go/redstart/adapters/otel"

// Options configure an [Observer]. The zero value uses the global providers of OpenTelemetry.
type Options struct {
	// TracerProvider creates the spans. Default otel.GetTracerProvider().
	TracerProvider trace.TracerProvider
	// MeterProvider creates the histograms. Default otel.GetMeterProvider().
	MeterProvider metric.MeterProvider
}

// Observer creates a span and records the duration for each operation of Redstart. It also records
// the wait for locks and limits, the hold of locks and the lag of events. It is an observe.Recorder
// for redstart.Config and an events.TraceContext for buses. Use [NewObserver]. Its methods are safe
// for concurrent use.
type Observer struct {
	tracer     trace.Tracer
	histograms []metric.Float64Histogram // by observe.Quantity

	mu     sync.RWMutex
	series map[observe.Operation]*series // at most maxSeries
}

var _ observe.Recorder = (*Observer)(nil)

// NewObserver returns an [Observer]. Its error is the error of the MeterProvider that refuses a
// histogram.
func NewObserver(opts Options) (*Observer, error) {
	if opts.TracerProvider == nil {
		opts.TracerProvider = otel.GetTracerProvider()
	}
	if opts.MeterProvider == nil {
		opts.MeterProvider = otel.GetMeterProvider()
	}

	o := &Observer{
		tracer: opts.TracerProvider.Tracer(scope, trace.WithInstrumentationVersion(redstart.Version),
			trace.WithSchemaURL(semconv.SchemaURL)),
		series: make(map[observe.Operation]*series),
	}
	meter := opts.MeterProvider.Meter(scope, metric.WithInstrumentationVersion(redstart.Version),
		metric.WithSchemaURL(semconv.SchemaURL))
	for _, h := range observe.Histograms() {
		instrument, err := meter.Float64Histogram(h.Name, metric.WithDescription(h.Help), metric.WithUnit(h.Unit),
			metric.WithExplicitBucketBoundaries(h.Bounds...))
		if err != nil {
			return nil, fmt.Errorf("redstartotel: new observer: histogram %q: %w", h.Name, err)
		}
		o.histograms = append(o.histograms, instrument)
	}
	return o, nil
}

// Start starts the span of an operation. It implements observe.Observer. The returned function ends
// the span and records the duration.
func (o *Observer) Start(ctx context.Context, op observe.Operation) (context.Context, func(error)) {
	s := o.seriesOf(op)
	began := time.Now()
	start := s.start
	if link, ok := linkOf(ctx, op); ok {
		start = append(start[:len(start):len(start)], trace.WithLinks(link))
	}
	ctx, span := o.tracer.Start(ctx, s.name, start...)

	return ctx, func(err error) {
		took, labels := time.Since(began).Seconds(), s.labels
		if err != nil {
			class, text := describe(err)
			labels = s.labelsWith(class)
			span.SetAttributes(semconv.ErrorTypeKey.String(class))
			span.SetStatus(codes.Error, text)
		}
		// Before the end of the span: the SDK takes the exemplar from ctx.
		o.histograms[observe.Duration].Record(ctx, took, labels...)
		span.End()
	}
}

// Record records a wait, a hold or a lag. It implements observe.Recorder.
func (o *Observer) Record(ctx context.Context, op observe.Operation, q observe.Quantity, d time.Duration) {
	if int(q) < len(o.histograms) {
		o.histograms[q].Record(ctx, d.Seconds(), o.seriesOf(op).labels...)
	}
}
