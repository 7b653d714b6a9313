package ratelimit

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// Middleware limits the requests that reach next, by key. Wrap it around each route that has rules of its
// own, with With; or choose per request, with MiddlewareFor.
//
// A refusal is 429 with Retry-After and a problem document (RFC 9457) that names the rule. Under FailClosed a Redis that does
// not answer is 503, never 429 (R5). A request without a key (ErrNoKey) is 400, another error of key 500. All answers
// to limited requests carry the RateLimit fields that Options.Fields says, except degraded ones: nothing is known then. The fields list
// every rule; middlewares around each other append to them.
//
// A rule with a limit of 0 is announced as q=0, and its refusals carry no Retry-After: waiting does not help. Rules that are Unlimited are
// not announced.
//
// A request costs one token, or what Cost and ResponseCost say.
func (l *Limiter) Middleware(key KeyFunc, opts ...MiddlewareOption) func(http.Handler) http.Handler {
	return MiddlewareFor(key, func(*http.Request) *Limiter { return l }, opts...)
}

// MiddlewareFor is Middleware with a limiter per request: a plan per customer, rules per route. nil lets the request pass
// unlimited. Make the limiters once, with New and With.
func MiddlewareFor(key KeyFunc, limiter func(r *http.Request) *Limiter, opts ...MiddlewareOption) func(http.Handler) http.Handler {
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

// identify returns a request's key, and answers a request that has none, except in shadow mode: that passes without a key.
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

// admit decides on a request, and answers it if it may not go on.
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
			Type: quotaExceeded, Title: "The request costs more than a quota allows at once", Violated: []string{l.plan.rules[l.plan.mostRule].Name},
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
	Violated []string `json:"violated-policies,omitempty"` // names of RateLimit-Policy
}

func answer(w http.ResponseWriter, status int, p problem) {
	p.Status = status
	if p.Type == "" {
		p.Type = "about:blank"
	}
	body, err := json.Marshal(p)
	if err != nil { // strings and a number
		panic(err)
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // a client that has gone needs no answer
}
