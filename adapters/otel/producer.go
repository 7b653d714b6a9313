package redstartotel

import (
	"context"
	"iter"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/observe"
)

// Producer exports counters and gauges. Use [NewProducer].
type Producer struct {
	metrics iter.Seq[observe.Metric]
	labels  []attribute.KeyValue
	since   time.Time
}

var _ metric.Producer = (*Producer)(nil)

// NewProducer returns a producer of all counters and gauges of redstart.Client.Metrics, for the
// option WithProducer of a reader of the SDK. It reads them when the reader collects. Each series
// has the labels, which separate several clients of one process.
func NewProducer(metrics iter.Seq[observe.Metric], labels ...attribute.KeyValue) *Producer {
	return &Producer{metrics, slices.Clone(labels), time.Now()}
}

// Produce returns the present values, sorted by name. It implements the Producer of the SDK.
func (p *Producer) Produce(ctx context.Context) ([]metricdata.ScopeMetrics, error) {
	now := time.Now()
	var names []string
	first := map[string]observe.Metric{}
	points := map[string][]metricdata.DataPoint[float64]{}
	for m := range p.metrics {
		if _, known := first[m.Name]; !known {
			first[m.Name] = m
			names = append(names, m.Name)
		}
		points[m.Name] = append(points[m.Name], metricdata.DataPoint[float64]{
			Attributes: p.attributes(m.Labels), StartTime: p.since, Time: now, Value: m.Value})
	}

	slices.Sort(names)
	all := make([]metricdata.Metrics, 0, len(names))
	for _, name := range names {
		m := first[name]
		all = append(all, metricdata.Metrics{Name: name, Description: m.Help, Unit: unit(m.Unit),
			Data: aggregation(m.Kind, points[name])})
	}
	return []metricdata.ScopeMetrics{{
		Scope: instrumentation.Scope{Name: scope, Version: redstart.Version}, Metrics: all,
	}}, ctx.Err()
}

// unit returns no unit for plain counts: the exporter for Prometheus would treat a gauge with the
// unit "1" as a ratio.
func unit(u string) string {
	if u == "1" {
		return ""
	}
	return u
}

func (p *Producer) attributes(labels []observe.Label) attribute.Set {
	pairs := make([]attribute.KeyValue, 0, len(labels)+len(p.labels))
	for _, l := range labels {
		pairs = append(pairs, attribute.String(l.Name, l.Value))
	}
	return attribute.NewSet(append(pairs, p.labels...)...)
}

func aggregation(kind observe.Kind, points []metricdata.DataPoint[float64]) metricdata.Aggregation {
	if kind == observe.Counter {
		return metricdata.Sum[float64]{DataPoints: points, Temporality: metricdata.CumulativeTemporality, IsMonotonic: true}
	}
	return metricdata.Gauge[float64]{DataPoints: points}
}
