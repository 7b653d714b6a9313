//go:build demo

// Package metrics counts nothing in the build of make run: the page of the demo has its own charts,
// and OpenTelemetry takes long to compile.
package metrics

import (
	"context"
	"iter"
	"net/http"
	"time"

	"github.com/redstart-go/redstart/observe"
)

// Metrics are empty. Create them with New.
type Metrics struct{}

// New returns empty metrics.
func New() (*Metrics, error) { return &Metrics{}, nil }

// Observer returns no observer.
func (m *Metrics) Observer() observe.Observer { return nil }

// Export exports nothing.
func (m *Metrics) Export(...iter.Seq[observe.Metric]) {}

// ServeHTTP responds to a scrape with an error.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "the build of make run has no metrics: start the shop with go run ./service --demo --debug-addr 127.0.0.1:6060",
		http.StatusNotImplemented)
}

// Request counts nothing.
func (m *Metrics) Request(context.Context, string, string, int, time.Duration) {}

// Close does nothing.
func (m *Metrics) Close(context.Context) error { return nil }
