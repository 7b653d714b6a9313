//go:build !demo

package metrics

import (
	"context"
	"iter"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/redstart-go/redstart/observe"
)

// producer passes counters of other packages to OpenTelemetry at each scrape.
type producer struct {
	sources []iter.Seq[observe.Metric]
	since   time.Time
}

// Produce implements the Producer of OpenTelemetry.
func (p producer) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	now := time.Now()
	var names []string
	first := map[string]observe.Metric{}
	points := map[string][]metricdata.DataPoint[float64]{}
	for _, source := range p.sources {
		for m := range source {
			if _, known := first[m.Name]; !known {
				first[m.Name] = m
				names = append(names, m.Name)
			}
			points[m.Name] = append(points[m.Name], metricdata.DataPoint[float64]{
				Attributes: attributes(m.Labels), StartTime: p.since, Time: now, Value: m.Value})
		}
	}
	slices.Sort(names)
	all := make([]metricdata.Metrics, 0, len(names))
	for _, name := range names {
		all = append(all, metricdata.Metrics{Name: name, Description: first[name].Help, Unit: unit(first[name].Unit),
			Data: aggregation(first[name].Kind, points[name])})
	}
	return []metricdata.ScopeMetrics{{Scope: instrumentation.Scope{Name: "redstart"}, Metrics: all}}, nil
}

// unit returns no unit for plain counts: OpenTelemetry would treat a gauge with the unit "1" as a
// ratio.
func unit(u string) string {
	if u == "1" {
		return ""
	}
	return u
}

func attributes(labels []observe.Label) attribute.Set {
	pairs := make([]attribute.KeyValue, len(labels))
	for i, l := range labels {
		pairs[i] = attribute.String(l.Name, l.Value)
	}
	return attribute.NewSet(pairs...)
}

func aggregation(kind observe.Kind, points []metricdata.DataPoint[float64]) metricdata.Aggregation {
	if kind == observe.Counter {
		return metricdata.Sum[float64]{DataPoints: points, Temporality: metricdata.CumulativeTemporality, IsMonotonic: true}
	}
	return metricdata.Gauge[float64]{DataPoints: points}
}
