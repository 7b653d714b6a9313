// Package observe is how Redstart is watched: spans pushed, counters pulled, with nothing but the
// standard library, so that any tracing or metrics system fits in a few lines.
//
// # Spans
//
// An [Observer] is told when an operation of a pattern starts and when it ends. It is set once, in
// redstart.Config; without one no operation pays for it. An operation is what the caller asked for
// (cache GetOrLoad, lock Acquire, events Handle), not a command on the wire. What an answer
// says is no error: a miss, a lock that is taken, a limit that refuses end with nil; errors are
// those of redstart's classes, of the caller's context and of the caller's own callbacks.
//
// # Counters
//
// Patterns count internally, with no observer in the way, and Client.Metrics() hands out the
// present values as a sequence of [Metric]. Whoever exports them pulls: a Prometheus collector, an
// OpenTelemetry observable instrument, expvar, a log line per minute.
//
// Names are redstart.<pattern>.<what>, labels say which one and how it went:
//
//	redstart.cache.requests{cache="users",result="near"}
//	redstart.lock.lost{locker="jobs"}
//
// A counter only grows until the process ends; a gauge is a level. Durations are seconds, sizes
// bytes, everything else is a plain count ([Metric.Unit] says so). Labels come from a fixed, small
// set that the program's source names: never a key, a user, a session id, an address or anything
// else that a request carries. They would be without bound, and some are secret.
package observe
