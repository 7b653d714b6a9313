// Package redstartprom exports the metrics of Redstart to Prometheus, without OpenTelemetry: the
// counters and gauges of a client, and histograms with exemplars.
//
// # Quick start
//
//	observer := redstartprom.NewObserver(redstartprom.Options{})
//	client, err := redstart.Open(ctx, redstart.Config{Observer: observer})
//	registry.MustRegister(observer, redstartprom.NewCollector(client.Metrics()))
//
// Either part works alone. The [Collector] costs nothing between two scrapes. The [Observer]
// measures each operation.
//
// # Metrics
//
// The page docs/metrics.md has the table of all metrics. A name in Prometheus is the name in
// Redstart with "_" in place of ".", then the unit ("_seconds", "_bytes"), then "_total" for a
// counter. The exporter of OpenTelemetry gives the same names, so that one dashboard fits both:
// deploy/grafana has a dashboard and alert rules.
//
// Several clients of one process need a label of your own each. Use prometheus.WrapRegistererWith.
//
// # Exemplars
//
// Options.Exemplar returns the labels of an exemplar for a context, such as the id of the trace. A
// scrape needs the OpenMetrics format: set EnableOpenMetrics in promhttp.HandlerOpts.
//
// # Limits
//
// An Observer keeps at most 1,000 different operations. Further operations have the name "(other)".
// An exemplar that Prometheus refuses, for example with more than 128 characters, is dropped, and
// the value is counted.
//
// # Cost
//
// A measured operation costs about 0.3 µs and one allocation. BenchmarkObserver measures it.
//
// # When not to use
//
// Use adapters/otel if you need spans.
package redstartprom
