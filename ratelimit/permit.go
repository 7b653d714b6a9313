package ratelimit

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/clock"
)

// Middleware limits how many requests are served at the same time, by key. While the handler runs,
// the permit is extended every TTL/3. When the handler returns or panics, the permit is released.
// It takes two round trips per request.
//
// A refusal is 429 with a problem document. Its Retry-After is [BusyError.RetryAfter], rounded up
// to seconds; a permit is usually free earlier. With [FailClosed], a request that Redis does not
// answer is 503 and never 429 (R5). A request without a key ([ErrNoKey]) is 400. Any other error of
// key is 500.
func (c *Concurrency) Middleware(key KeyFunc) func(http.Handler) http.Handler {
	if key == nil {
		panic("ratelimit: Middleware needs a KeyFunc, such as ratelimit.ClientAddress()")
	}

	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			name, err := key(r)
			if err != nil {
				answerNoKey(w, err)
				return
			}
			p, err := c.Acquire(r.Context(), name)
			if err != nil {
				answerBusy(w, err)
				return
			}
			defer p.hold(r.Context())()
			next.ServeHTTP(w, r)
		})
	}
}

// Do acquires a permit of a key, calls fn, and releases the permit, also if fn panics. While fn
// runs, the permit is extended every TTL/3. It takes two round trips. Errors: the errors of
// [Concurrency.Acquire], and the error of fn, unwrapped.
func (c *Concurrency) Do(ctx context.Context, key string, fn func(ctx context.Context) error) error {
	p, err := c.Acquire(ctx, key)
	if err != nil {
		return err
	}
	defer p.hold(ctx)()
	return fn(ctx)
}

// hold extends a permit until release is called.
func (p *Permit) hold(ctx context.Context) (release func()) {
	stop := p.keep()
	return func() {
		stop()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.limit.core.Timeout())
		defer cancel()
		// the release is tried again in the background; at worst the permit expires
		_ = p.Release(ctx)
	}
}

func answerBusy(w http.ResponseWriter, err error) {
	var busy *BusyError
	if !errors.As(err, &busy) {
		setRetryAfter(w.Header(), time.Second)
		answer(w, http.StatusServiceUnavailable, problem{Title: "The concurrency limit cannot be checked at the moment"})
		return
	}
	setRetryAfter(w.Header(), busy.RetryAfter)
	answer(w, http.StatusTooManyRequests, problem{
		Type: quotaExceeded, Title: "Too many requests are being served at the same time",
	})
}

// keep extends a permit every third of its TTL until stop is called. Between two extensions it
// needs no goroutine.
func (p *Permit) keep() (stop func()) {
	if p.Degraded {
		return func() {}
	}

	c := p.limit
	var mu sync.Mutex
	var timer *clock.Timer
	ended := false
	mu.Lock() // the timer may fire before it is assigned
	defer mu.Unlock()
	timer = c.core.Time().AfterFunc(c.opt.TTL/3, func() {
		c.core.Group().Work("extension of a permit", func(ctx context.Context) {
			err := p.Extend(ctx)
			mu.Lock()
			defer mu.Unlock()
			if !ended && !errors.Is(err, ErrExpired) {
				timer.Reset(c.opt.TTL / 3)
			}
		})
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		ended = true
		timer.Stop()
	}
}
