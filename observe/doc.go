// Package observe has the types for traces and metrics of Redstart. It imports the standard library
// alone, so an adapter for any tracing or metrics system needs a few lines.
//
// # Spans
//
// An [Observer] receives the start and the end of each operation of a pattern. Set it once, in
// redstart.Config. Without an Observer an operation has no cost for it.
//
// An operation is the call of the user (cache GetOrLoad, lock Acquire) or a handled event, not a
// command for the server. A miss, a lock that is taken and a request above a limit are results, so
// they end with a nil error. Errors are the classes of package redstart, the errors of the caller's
// context and of the caller's callbacks.
//
// # Histograms
//
// An Observer measures the duration of an operation between its two calls. An Observer that is also
// a [Recorder] receives three more durations: the wait in a queue, the hold of a lock, and the lag
// of an event. [Histograms] has the name, the unit and the buckets of each. Without a Recorder
// nothing is measured.
//
// # Adapters
//
// Two adapters have modules of their own: adapters/otel (spans, links between producers and
// consumers, histograms, counters) and adapters/prometheus (a collector without OpenTelemetry).
//
// # Counters
//
// The patterns count without an Observer. Client.Metrics returns the present values as a sequence
// of [Metric]. The exporter reads the sequence when it needs the values: a Prometheus collector, an
// OpenTelemetry observable instrument, expvar, or a line in the log per minute.
//
// The name of a metric is redstart.<pattern>.<what>. Labels name the object and the result:
//
//	redstart.cache.requests{cache="users",result="near"}
//	redstart.lock.lost{locker="jobs"}
//
// A counter only grows until the process ends. A gauge is a level. Durations are in seconds, sizes
// in bytes, and all other values are plain counts; [Metric] has the unit. The values of labels come
// from a small, fixed set in the source of the program. A key, a user, a session id or an address
// is never a label: their number has no bound, and some are secret.
package observe
