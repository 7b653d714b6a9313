package idempotency

import (
	"sync/atomic"

	"github.com/redstart-go/redstart/observe"
)

// Stats are the counters of an [Executor] in this process, since [New].
type Stats struct {
	Executed      int64 // requests whose handler ran under a lease
	Replayed      int64 // answered with a stored result
	InFlight      int64 // 409: another execution of the key was running
	NotRepeatable int64 // 409: executed before, and the result cannot be repeated
	Reused        int64 // 422: the key belongs to another request
	Missing       int64 // 400: Required, and no key
	Malformed     int64 // 400: the key is not a String, or is too long
	WithoutKey    int64 // executed without a key and without a lease
	TooLarge      int64 // 413
	Unavailable   int64 // 503: Redis did not answer
	Degraded      int64 // executed by FailOpen without a lease
	Released      int64 // executions without a result: the handler panicked, or the status is Retryable
	Lost          int64 // executions whose lease was lost; their result is not stored
	Unstored      int64 // executions whose result was not stored, because Redis did not answer
}

type counters struct {
	executed, replayed, inFlight, notRepeatable, reused atomic.Int64
	missing, malformed, withoutKey, tooLarge            atomic.Int64
	unavailable, degraded, released, lost, unstored     atomic.Int64
}

// Stats returns the present counters.
func (e *Executor) Stats() Stats {
	c := &e.counts
	return Stats{
		Executed: c.executed.Load(), Replayed: c.replayed.Load(), InFlight: c.inFlight.Load(),
		NotRepeatable: c.notRepeatable.Load(), Reused: c.reused.Load(), Missing: c.missing.Load(),
		Malformed: c.malformed.Load(), WithoutKey: c.withoutKey.Load(), TooLarge: c.tooLarge.Load(),
		Unavailable: c.unavailable.Load(), Degraded: c.degraded.Load(), Released: c.released.Load(),
		Lost: c.lost.Load(), Unstored: c.unstored.Load(),
	}
}

func (e *Executor) metrics(yield func(observe.Metric) bool) bool {
	c := &e.counts
	executor := observe.Label{Name: "executor", Value: e.name}
	for _, m := range []struct {
		outcome string
		n       *atomic.Int64
	}{
		{"executed", &c.executed}, {"replayed", &c.replayed}, {"in_flight", &c.inFlight},
		{"not_repeatable", &c.notRepeatable}, {"reused", &c.reused}, {"missing", &c.missing},
		{"malformed", &c.malformed}, {"without_key", &c.withoutKey}, {"too_large", &c.tooLarge},
		{"unavailable", &c.unavailable}, {"degraded", &c.degraded},
	} {
		if !yield(observe.Metric{
			Name: "redstart.idempotency.requests", Help: "Requests by outcome.", Unit: "1", Kind: observe.Counter,
			Labels: []observe.Label{executor, {Name: "outcome", Value: m.outcome}}, Value: float64(m.n.Load()),
		}) {
			return false
		}
	}

	for _, m := range []struct {
		reason string
		n      *atomic.Int64
	}{{"released", &c.released}, {"lost", &c.lost}, {"unstored", &c.unstored}} {
		if !yield(observe.Metric{
			Name: "redstart.idempotency.unrecorded", Help: "Executions without a stored result by reason.", Unit: "1",
			Kind: observe.Counter, Labels: []observe.Label{executor, {Name: "reason", Value: m.reason}},
			Value: float64(m.n.Load()),
		}) {
			return false
		}
	}
	return true
}
