//go:build !demo

// Package metrics serves the counters of the shop and of Redstart in the format of Prometheus,
// through OpenTelemetry.
package metrics

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/attribute"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"

	redstartotel "github.com/redstart-go/redstart/adapters/otel"
	"github.com/redstart-go/redstart/observe"
)

// Metrics are the metrics of this process. Create them with New.
type Metrics struct {
	provider *sdk.MeterProvider
	scrape   http.Handler
	requests metric.Float64Histogram
	observer *redstartotel.Observer
	sources  []iter.Seq[observe.Metric]
}

// New returns metrics of the requests that Request counts, of the operations that the Observer
// measures, and of the memory, goroutines and open files of the process.
func New() (*Metrics, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m := &Metrics{scrape: promhttp.HandlerFor(registry, promhttp.HandlerOpts{})}
	reader, err := exporter.New(exporter.WithRegisterer(registry), exporter.WithoutScopeInfo(), exporter.WithoutTargetInfo(),
		exporter.WithProducer(redstartotel.NewProducer(m.counters)))
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	m.provider = sdk.NewMeterProvider(sdk.WithReader(reader))
	if m.observer, err = redstartotel.NewObserver(redstartotel.Options{MeterProvider: m.provider}); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	m.requests, err = m.provider.Meter("shop").Float64Histogram("http.server.request.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of requests."),
		metric.WithExplicitBucketBoundaries(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10))
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return m, nil
}

// Observer measures the operations of a client.
func (m *Metrics) Observer() observe.Observer { return m.observer }

// Export adds counters that each scrape reads. Call it before the first scrape.
func (m *Metrics) Export(sources ...iter.Seq[observe.Metric]) {
	m.sources = append(m.sources, sources...)
}

// counters yields the counters of all sources.
func (m *Metrics) counters(yield func(observe.Metric) bool) {
	for _, source := range m.sources {
		for one := range source {
			if !yield(one) {
				return
			}
		}
	}
}

// ServeHTTP serves a scrape.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.scrape.ServeHTTP(w, r) }

// Request counts a finished request. The route is the matched pattern, or "": the number of paths
// is unbounded.
func (m *Metrics) Request(ctx context.Context, method, route string, status int, took time.Duration) {
	m.requests.Record(ctx, took.Seconds(), metric.WithAttributeSet(attribute.NewSet(
		attribute.String("http.request.method", known(method)),
		attribute.String("http.route", route),
		attribute.Int("http.response.status_code", status))))
}

// known returns the method, or _OTHER, as OpenTelemetry specifies for unknown methods.
func known(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodOptions:
		return method
	}
	return "_OTHER"
}

// Close stops the collection.
func (m *Metrics) Close(ctx context.Context) error { return m.provider.Shutdown(ctx) }
