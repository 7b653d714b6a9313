package ratelimit

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// Middleware limits the requests that reach next, one token each, by key. Wrap it around each route that has rules of its
// own, with With; or choose per request, with Choose.
//
// A refusal is 429 with Retry-After and a problem document (RFC 9457) that names the rule. Under FailClosed a Redis that does
// not answer is 503, never 429 (R5). A request without a key (ErrNoKey) is 400, another error of key 500. All answers
// to limited requests carry the RateLimit fields that Options.Fields says, except degraded ones: nothing is known then. The fields list
// every rule; middlewares around each other append to them.
func (l *Limiter) Middleware(key KeyFunc) func(http.Handler) http.Handler {
	return Choose(key, func(*http.Request) *Limiter { return l })
}

// Choose is Middleware with a limiter per request: a plan per customer, rules per route. nil lets the request pass
// unlimited. Make the limiters once, with New and With.
func Choose(key KeyFunc, limiter func(r *http.Request) *Limiter) func(http.Handler) http.Handler {
	if key == nil || limiter == nil {
		panic("ratelimit: Middleware needs a KeyFunc, such as ratelimit.ClientAddress()")
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if l := limiter(r); l == nil || l.admit(w, r, key) {
				next.ServeHTTP(w, r)
			}
		})
	}
}

// admit decides on a request, and answers it if it may not go on.
func (l *Limiter) admit(w http.ResponseWriter, r *http.Request, key KeyFunc) bool {
	name, err := key(r)
	if err == nil {
		err = l.check("middleware", name)
	}
	if err != nil {
		if l.opt.Shadow {
			l.counters.shadowed.Add(1)
			return true
		}
		if errors.Is(err, ErrNoKey) {
			answer(w, http.StatusBadRequest, problem{Title: "The request does not say who it is from"})
		} else {
			answer(w, http.StatusInternalServerError, problem{Title: "The request could not be told apart"})
		}
		return false
	}
	result, seen, err := l.allowSeen(r.Context(), name, 1)
	if l.opt.Shadow {
		if err != nil || !result.Allowed {
			l.counters.shadowed.Add(1)
		}
		return true
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
	setRetryAfter(w.Header(), result.RetryAfter)
	answer(w, http.StatusTooManyRequests, problem{
		Type:     "https://iana.org/assignments/http-problem-types#quota-exceeded",
		Title:    "The request exceeds a quota",
		Violated: []string{binds},
	})
	return false
}

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
