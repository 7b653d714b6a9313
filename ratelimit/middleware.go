package ratelimit

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// Middleware limits the requests that reach next, by key. Wrap it around each route with its own
// rules ([Limiter.With]), or choose a limiter per request ([MiddlewareFor]). A request costs one
// token, or what [Cost] and [ResponseCost] return.
//
// Responses:
//
//   - A refusal is 429 with Retry-After and a problem document (RFC 9457) that names the rule. If
//     the rule's limit is 0, there is no Retry-After, because waiting does not help.
//   - With [FailClosed], a request that Redis does not answer is 503 and never 429 (R5).
//   - A request without a key ([ErrNoKey]) is 400. Any other error of key is 500.
//
// All responses to limited requests have the fields of [Options.Fields], with one item per rule.
// Degraded responses have none, because the counts are not known. Nested middlewares append to the
// fields. A rule with a limit of 0 is announced as q=0. A rule that is [Unlimited] is not
// announced.
func (l *Limiter) Middleware(key KeyFunc, opts ...MiddlewareOption) func(http.Handler) http.Handler {
	return MiddlewareFor(key, func(*http.Request) *Limiter { return l }, opts...)
}

// MiddlewareFor is [Limiter.Middleware] with a limiter per request: for example a plan per
// customer, or rules per route. If limiter returns nil, the request passes without a limit. Create
// the limiters once, with [New], [Limiter.With] or [Plans.For].
func MiddlewareFor(key KeyFunc, limiter func(r *http.Request) *Limiter,
	opts ...MiddlewareOption) func(http.Handler) http.Handler {
	if key == nil || limiter == nil {
		panic("ratelimit: Middleware needs a KeyFunc, such as ratelimit.ClientAddress()")
	}
	costs := newCosts(opts)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			l := limiter(r)
			if l == nil {
				next.ServeHTTP(w, r)
				return
			}
			name, known, passes := l.identify(w, r, key)
			if passes && (!known || l.admit(w, r, name, costs)) {
				costs.serve(l, name, known, next, w, r)
			}
		})
	}
}

// identify returns the key of a request. It answers a request without a key. In shadow mode such a
// request passes.
func (l *Limiter) identify(w http.ResponseWriter, r *http.Request, key KeyFunc) (name string, known, passes bool) {
	name, err := key(r)
	if err == nil {
		err = l.check("middleware", name)
	}

	switch {
	case err == nil:
		return name, true, true
	case l.opt.Shadow:
		l.counters.shadowed.Add(1)
		return "", false, true
	}

	answerNoKey(w, err)
	return "", false, false
}

func answerNoKey(w http.ResponseWriter, err error) {
	if errors.Is(err, ErrNoKey) {
		answer(w, http.StatusBadRequest, problem{Title: "The request does not say who it is from"})
		return
	}
	answer(w, http.StatusInternalServerError, problem{Title: "The request has no key for its limit"})
}

// admit decides on a request. It answers a request that is refused.
func (l *Limiter) admit(w http.ResponseWriter, r *http.Request, name string, costs *costs) bool {
	n := int64(1)
	if costs.before != nil {
		if n = costs.before(r); n <= 0 {
			return true
		}
	}

	result, seen, err := l.allowSeen(r.Context(), name, n)
	if l.opt.Shadow {
		if err != nil || !result.Allowed {
			l.counters.shadowed.Add(1)
		}
		return true
	}

	if errors.Is(err, ErrCost) {
		answer(w, http.StatusTooManyRequests, problem{
			Type: quotaExceeded, Title: "The request costs more than a quota allows at once",
			Violated: []string{l.plan.rules[l.plan.mostRule].Name},
		})
		return false
	}

	if err != nil {
		setRetryAfter(w.Header(), time.Second)
		answer(w, http.StatusServiceUnavailable, problem{Title: "The request limit cannot be checked at the moment"})
		return false
	}

	binds := result.Rule
	if l.opt.Fields == FieldsDraft11 && !result.Degraded {
		binds = l.setFields(w.Header(), result, seen)
	}

	if result.Allowed {
		return true
	}

	if result.RetryAfter < Never {
		setRetryAfter(w.Header(), result.RetryAfter)
	}

	answer(w, http.StatusTooManyRequests, problem{
		Type:     quotaExceeded,
		Title:    "The request exceeds a quota",
		Violated: []string{binds},
	})
	return false
}

const quotaExceeded = "https://iana.org/assignments/http-problem-types#quota-exceeded"

// problem is a problem document of RFC 9457.
type problem struct {
	Type     string   `json:"type"`
	Title    string   `json:"title"`
	Status   int      `json:"status"`
	Violated []string `json:"violated-policies,omitempty"` // names in RateLimit-Policy
}

func answer(w http.ResponseWriter, status int, p problem) {
	p.Status = status
	if p.Type == "" {
		p.Type = "about:blank"
	}

	body, err := json.Marshal(p)
	if err != nil { // cannot happen: the document has strings and a number
		panic(err)
	}

	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // a client that has disconnected needs no answer
}
