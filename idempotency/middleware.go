package idempotency

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/redstart-go/redstart/internal/fault"
)

// Middleware executes each request of [Options.Methods] with an Idempotency-Key once, and answers a
// repeated request with the result of the first. The key is a field of
// draft-ietf-httpapi-idempotency-key-header-07.
//
//	request                                        answer
//	first of its key                               next runs; its result is stored, then sent
//	repeated after the end                         the stored result, with Idempotent-Replayed: true
//	repeated while next runs                       409 with Retry-After: 1
//	executed, and the result is not repeatable     409 without Retry-After
//	same key, other method, path, query or body    422
//	key missing and Required, or malformed         400
//	no scope (ErrNoScope)                          400; another error of Scope is 500
//	body above MaxRequestBytes (RefuseLarge)       413
//	Redis does not answer before next runs         503 with Retry-After (FailClosed)
//
// Each of these errors is a problem document (RFC 9457) with a member "code".
//
// next gets a context that ends when the lease is lost ([ErrLeaseLost]), after [Options.Timeout],
// or at the deadline of the request. It does not end when the client disconnects. If next panics,
// the key is free at once.
//
// A response that is flushed, hijacked, 101, or longer than [Options.MaxResponseBytes] is recorded
// as not repeatable before its first byte is sent.
//
// Cost: two round trips for an execution, one for any other answer.
func (e *Executor) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(e.opt.Methods, r.Method) {
			next.ServeHTTP(w, r)
			return
		}

		key, present, err := keyOf(r.Header, e.opt.AllowUnquoted)
		switch {
		case err != nil:
			e.counts.malformed.Add(1)
			e.answer(w, problemMalformed, err.Error())
		case present:
			e.guard(w, r, next, key)
		case e.opt.Required:
			e.counts.missing.Add(1)
			e.answer(w, problemMissing, "")
		default:
			e.counts.withoutKey.Add(1)
			next.ServeHTTP(w, r)
		}
	})
}

// guard executes a request, or answers it from its record.
func (e *Executor) guard(w http.ResponseWriter, r *http.Request, next http.Handler, key string) {
	scope, err := e.opt.Scope(r)
	switch {
	case errors.Is(err, ErrNoScope):
		e.answer(w, problemNoScope, "")
		return
	case err != nil || len(scope) > maxScope:
		e.answer(w, problemScope, "")
		return
	}

	fingerprint, err := e.fingerprint(r)
	if err != nil {
		e.unreadable(w, err)
		return
	}

	rec := e.record(scope, key, fingerprint)
	since := e.core.Time().Now()
	known, res, err := rec.begin(r.Context())
	if err != nil {
		e.outage(w, r, next, rec, err)
		return
	}
	switch known {
	case begun:
		e.execute(w, r, next, rec.hold(r.Context(), since))
	case running:
		e.counts.inFlight.Add(1)
		e.answer(w, problemInFlight, "")
	case reused:
		e.counts.reused.Add(1)
		e.answer(w, problemReused, "")
	case finished:
		e.counts.replayed.Add(1)
		res.replay(w)
	case notRepeatable:
		e.counts.notRepeatable.Add(1)
		e.answer(w, problemNotRepeatable, "")
	}
}

// unreadable answers a request whose body cannot be read.
func (e *Executor) unreadable(w http.ResponseWriter, err error) {
	var outer *http.MaxBytesError // of a middleware around this one
	if errors.Is(err, errTooLong) || errors.As(err, &outer) {
		e.counts.tooLarge.Add(1)
		e.answer(w, problemTooLarge, "")
		return
	}
	e.answer(w, problemBody, "")
}

// execute runs the handler under a lease.
func (e *Executor) execute(w http.ResponseWriter, r *http.Request, next http.Handler, l *lease) {
	e.counts.executed.Add(1)
	res := newResponse(e, w, l)
	defer res.abandon() // after a panic, which continues

	ctx, cancel := context.WithTimeout(l.ctx, e.opt.Timeout)
	defer cancel()
	if deadline, ok := r.Context().Deadline(); ok {
		var end context.CancelFunc
		ctx, end = context.WithDeadline(ctx, deadline)
		defer end()
	}

	next.ServeHTTP(res.withCapabilities(), r.WithContext(ctx))
	res.finish()
}

// outage answers a request that Redis did not answer, by the policy.
func (e *Executor) outage(w http.ResponseWriter, r *http.Request, next http.Handler, rec *record, err error) {
	if errors.Is(err, fault.ErrIndeterminate) {
		// The server may have granted the lease, which would block the key until it expires.
		e.freeLater(rec)
	}

	if r.Context().Err() == nil && e.opt.Outage == FailOpen {
		e.counts.degraded.Add(1)
		e.core.Degraded("idempotency", e.name, e.opt.Outage.String(), err)
		next.ServeHTTP(w, r)
		return
	}
	e.counts.unavailable.Add(1)
	e.answer(w, problemUnavailable, "")
}
