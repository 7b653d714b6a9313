// Package redstartotel connects Redstart to OpenTelemetry: spans, links between producers and
// consumers of events, histograms with exemplars, and the counters of a client.
//
// # Quick start
//
// Pass one [Observer] to redstart.Config. The buses of the client then carry the trace context,
// also with observe.Multi. Pass the counters to the reader of your SDK:
//
//	observer, err := redstartotel.NewObserver(redstartotel.Options{})
//	client, err := redstart.Open(ctx, redstart.Config{Observer: observer})
//	bus, err := events.NewDurable(client, "orders", events.DurableOptions{})
//	reader := metric.NewPeriodicReader(exporter, metric.WithProducer(redstartotel.NewProducer(client.Metrics())))
//
// # Spans
//
// Names and attributes follow the semantic conventions 1.43.0 of OpenTelemetry.
//
// An operation of a cache, a lock, a limit or a session manager is a call of a database. The span
// "cache.get users" has the kind CLIENT and the attributes db.system.name (redis),
// db.operation.name (cache.get) and db.collection.name (users). The operation can take no command,
// or several: a hit of the near cache is a span too.
//
// An event is a message. The span "publish orders" has the kind PRODUCER. The span "handle orders"
// has the kind CONSUMER, and a link to the span that published the event. The span that published
// the event is never the parent. The attributes are messaging.system (redis),
// messaging.operation.name, messaging.operation.type (send, process), messaging.destination.name
// (the bus) and messaging.consumer.group.name (the subscriber).
//
// Each span also has redstart.pattern, redstart.name and redstart.verb. A span that failed has the
// status Error and error.type, with the names of redstart.ErrorType. The description of the status
// is the text of the error, at most 1,024 bytes. The text of your callbacks' errors is not changed.
// A miss, a lock that is held by another process and a request above a limit are no errors.
//
// # Metrics
//
// The histograms have the names and buckets of observe.Histograms,
// with the labels pattern, name, verb and
// subscriber, and error.type for durations. They do not have the names db.client.operation.duration
// and messaging.client.operation.duration. Those names count single commands, and a dashboard would
// add operations and commands. The SDK attaches exemplars of sampled spans.
//
// [NewProducer] exports all counters and gauges of redstart.Client.Metrics. The names in Prometheus
// are the same as those of adapters/prometheus: docs/metrics.md has the table.
//
// # Limits
//
// An Observer keeps the attributes of at most 1,000 different operations. Further operations have
// the name "(other)". Baggage is not carried through events. The trace context adds about 100 bytes
// to an event.
//
// # Cost
//
// A span with its histogram costs about 2 µs while it is sampled. BenchmarkObserver measures it.
//
// # When not to use
//
// Use adapters/prometheus if you need no spans and no OpenTelemetry. Use observe.Slog for a log of
// operations while you develop.
package redstartotel
