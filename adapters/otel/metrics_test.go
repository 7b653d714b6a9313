package redstartotel_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	redstartotel "github.com/redstart-go/redstart/adapters/otel"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/allmetrics"
	"github.com/redstart-go/redstart/observe"
)

type point = metricdata.HistogramDataPoint[float64]

func meterProvider(t testing.TB) *metric.MeterProvider {
	provider := metric.NewMeterProvider(metric.WithReader(metric.NewManualReader()))
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	return provider
}

// collect returns the metrics of the observer by name.
func (p *probe) collect(t *testing.T) map[string]metricdata.Metrics {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := p.reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	found := map[string]metricdata.Metrics{}
	for _, s := range all.ScopeMetrics {
		for _, m := range s.Metrics {
			found[m.Name] = m
		}
	}
	return found
}

func (p *probe) points(t *testing.T, name string) []point {
	t.Helper()
	m, ok := p.collect(t)[name].Data.(metricdata.Histogram[float64])
	if !ok {
		t.Fatalf("%s has no histogram", name)
	}
	return m.DataPoints
}

// The histograms have the documented labels and buckets, and the SDK attaches the span of the
// operation as an exemplar.
func TestHistogramsHaveLabelsAndExemplars(t *testing.T) {
	t.Parallel()
	p := newProbe(t)
	op := observe.Operation{Pattern: "events", Name: "orders", Verb: "handle", Subscriber: "mail"}
	ctx, end := p.Start(t.Context(), op)
	p.Record(ctx, op, observe.Lag, 70*time.Second)
	end(context.DeadlineExceeded)
	span := p.spans.Ended()[0].SpanContext()

	labels := []attribute.KeyValue{attribute.String("pattern", "events"), attribute.String("name", "orders"),
		attribute.String("verb", "handle"), attribute.String("subscriber", "mail")}
	failed := append(slices.Clone(labels), attribute.String("error.type", "deadline_exceeded"))
	for q, want := range map[observe.Quantity]attribute.Set{
		observe.Lag: attribute.NewSet(labels...), observe.Duration: attribute.NewSet(failed...),
	} {
		h := observe.Histograms()[q]
		points := p.points(t, h.Name)
		if len(points) != 1 || points[0].Count != 1 || !points[0].Attributes.Equals(&want) || !slices.Equal(points[0].Bounds, h.Bounds) {
			t.Fatalf("%v: the points are %+v", q, points)
		}
		if q == observe.Lag && points[0].Sum != 70 {
			t.Errorf("the lag is %v s, want 70", points[0].Sum)
		}
		exemplars := points[0].Exemplars
		if len(exemplars) != 1 || !slices.Equal(exemplars[0].TraceID, slices.Clone(bytesOf(span.TraceID()))) {
			t.Errorf("%v: the exemplars are %+v, want one of trace %v", q, exemplars, span.TraceID())
		}
	}
	if m := p.collect(t)["redstart.operation.duration"]; m.Unit != "s" || m.Description == "" {
		t.Errorf("unit %q, description %q", m.Unit, m.Description)
	}
}

func bytesOf(id [16]byte) []byte { return id[:] }

// The counters keep kind, unit and labels, and each series gets the labels of the producer.
func TestProducerKeepsKindUnitAndLabels(t *testing.T) {
	t.Parallel()
	source := func(yield func(observe.Metric) bool) {
		_ = yield(observe.Metric{Name: "b.time", Help: "B.", Unit: "s", Kind: observe.Counter, Value: 2,
			Labels: []observe.Label{{Name: "cache", Value: "users"}}}) &&
			yield(observe.Metric{Name: "b.time", Help: "B.", Unit: "s", Kind: observe.Counter, Value: 3,
				Labels: []observe.Label{{Name: "cache", Value: "orders"}}}) &&
			yield(observe.Metric{Name: "a.level", Help: "A.", Unit: "1", Kind: observe.Gauge, Value: 5})
	}
	produced, err := redstartotel.NewProducer(source, attribute.String("client", "main")).Produce(t.Context())
	if err != nil || len(produced) != 1 || len(produced[0].Metrics) != 2 {
		t.Fatalf("%+v, %v", produced, err)
	}
	level, total := produced[0].Metrics[0], produced[0].Metrics[1]
	gauge, isGauge := level.Data.(metricdata.Gauge[float64])
	client := attribute.NewSet(attribute.String("client", "main"))
	if !isGauge || level.Name != "a.level" || level.Unit != "" || gauge.DataPoints[0].Value != 5 ||
		!gauge.DataPoints[0].Attributes.Equals(&client) {
		t.Errorf("gauge: %+v", level)
	}
	sum, isSum := total.Data.(metricdata.Sum[float64])
	users := attribute.NewSet(attribute.String("cache", "users"), attribute.String("client", "main"))
	if !isSum || total.Name != "b.time" || total.Unit != "s" || !sum.IsMonotonic || len(sum.DataPoints) != 2 ||
		sum.Temporality != metricdata.CumulativeTemporality || !sum.DataPoints[0].Attributes.Equals(&users) {
		t.Errorf("counter: %+v", total)
	}
}

// A run of all patterns exports each metric of docs/metrics.md and no other, with the documented
// name in OpenTelemetry and, through the exporter, in Prometheus.
func TestExportedNamesAreTheDocumentedNames(t *testing.T) {
	t.Parallel()
	rig.Shared(t) // skips the test in the quick tier
	registry := prometheus.NewRegistry()
	late := func(yield func(observe.Metric) bool) {}
	producer := redstartotel.NewProducer(func(yield func(observe.Metric) bool) { late(yield) })
	reader, err := exporter.New(exporter.WithRegisterer(registry), exporter.WithoutScopeInfo(), exporter.WithoutTargetInfo(),
		exporter.WithProducer(producer))
	if err != nil {
		t.Fatal(err)
	}
	manual := metric.NewManualReader(metric.WithProducer(producer))
	meters := metric.NewMeterProvider(metric.WithReader(reader), metric.WithReader(manual))
	t.Cleanup(func() { _ = meters.Shutdown(context.Background()) })
	observer, err := redstartotel.NewObserver(redstartotel.Options{MeterProvider: meters})
	if err != nil {
		t.Fatal(err)
	}
	client := open(t, observer)
	late = client.Metrics()
	allmetrics.Emit(t, client)

	want := documented(t)
	var collected metricdata.ResourceMetrics
	if err := manual.Collect(t.Context(), &collected); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range collected.ScopeMetrics {
		for _, m := range s.Metrics {
			names = append(names, m.Name)
		}
	}
	slices.Sort(names)
	if documented := slices.Sorted(maps.Keys(want)); !slices.Equal(names, documented) {
		t.Errorf("exported:\n%s\ndocumented:\n%s", strings.Join(names, "\n"), strings.Join(documented, "\n"))
	}

	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	names = nil
	for _, f := range families {
		names = append(names, f.GetName())
	}
	slices.Sort(names)
	if documented := slices.Sorted(maps.Values(want)); !slices.Equal(names, documented) {
		t.Errorf("in Prometheus:\n%s\ndocumented:\n%s", strings.Join(names, "\n"), strings.Join(documented, "\n"))
	}
}
