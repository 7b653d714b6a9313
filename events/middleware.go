package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Handler handles an event of any type with its data as JSON. A [Middleware] wraps it.
type Handler func(ctx context.Context, e Event[json.RawMessage]) error

// Middleware wraps a handler, like HTTP middleware. The returned handler replaces next. It may call
// next or return without a call.
type Middleware func(next Handler) Handler

// Use wraps every handler of the subscriber. The first middleware is the outermost. For each
// attempt, it receives the event once per handler. The handler receives the context and the event
// that the middleware passes on. The error that the middleware returns is the result of the
// attempt.
//
// Call Use before Run. Errors: [ErrRunning]; a nil middleware. A middleware that panics while it
// wraps, or that returns nil, is an error of Run.
func (s *Subscriber) Use(middleware ...Middleware) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.began {
		return fmt.Errorf("events: use middleware: %w", ErrRunning)
	}
	for i, m := range middleware {
		if m == nil {
			return fmt.Errorf("events: use middleware: number %d is nil: want a function", i)
		}
	}
	s.middleware = append(s.middleware, middleware...)
	return nil
}

// wrap wraps all handlers with the middleware.
func (s *Subscriber) wrap() error {
	if len(s.middleware) == 0 {
		return nil
	}
	for i := range s.handlers {
		inner := s.handlers[i].call
		call := Handler(func(ctx context.Context, e Event[json.RawMessage]) error {
			return inner(ctx, deliveryOf(e))
		})
		for k := len(s.middleware) - 1; k >= 0; k-- {
			next := call
			err := guard(func() error { call = s.middleware[k](next); return nil })
			if err == nil && call == nil {
				err = errors.New("the middleware returned no handler")
			}
			if err != nil {
				return fmt.Errorf("middleware number %d: %w", k, err)
			}
		}
		s.handlers[i].call = func(ctx context.Context, d *delivery) error {
			e := Event[json.RawMessage]{ID: d.ID, Type: d.Type, Source: d.Source, Channel: d.Subject, Time: d.Time,
				Position: d.position, Attempt: d.attempt, Fence: d.fence}
			if err := d.decode(&e.Data); err != nil {
				return err
			}
			return call(ctx, e)
		}
	}
	return nil
}

// deliveryOf returns the delivery of an event that a middleware passes on.
func deliveryOf(e Event[json.RawMessage]) *delivery {
	return &delivery{envelope: envelope{ID: e.ID, Source: e.Source, Type: e.Type, Subject: e.Channel,
		Time: e.Time, Data: e.Data},
		position: e.Position, attempt: e.Attempt, fence: e.Fence}
}

// HandleOption changes one handler. [MaxAttempts] and [Backoff] return one.
type HandleOption struct {
	name string
	set  func(*handler) error
}

// MaxAttempts sets how often an event is tried if this handler fails, in place of
// SubscriberOptions.MaxAttempts. The number is at least 1, or [NoMaxAttempts]. An attempt also
// counts if its process dies. Then the smallest limit of the event's handlers applies. Durable
// only.
func MaxAttempts(n int) HandleOption {
	return HandleOption{"MaxAttempts", func(h *handler) error {
		if n < 1 && n != NoMaxAttempts {
			return fmt.Errorf("MaxAttempts is %d: want at least 1, or NoMaxAttempts", n)
		}
		h.maxAttempts = n
		return nil
	}}
}

// Backoff sets the least time between attempt n (from 1) and the next attempt if this handler
// fails, in place of SubscriberOptions.Backoff. After an attempt whose process died,
// SubscriberOptions.Backoff applies. Durable only.
func Backoff(backoff func(attempt int) time.Duration) HandleOption {
	return HandleOption{"Backoff", func(h *handler) error {
		if backoff == nil {
			return errors.New("Backoff is nil: want a function")
		}
		h.backoff = backoff
		return nil
	}}
}

// setLimits finds the largest and the smallest limit of attempts.
func (s *Subscriber) setLimits() {
	s.mostAttempts, s.leastAttempts = s.opt.MaxAttempts, s.opt.MaxAttempts
	for i := range s.handlers {
		if n := s.handlers[i].maxAttempts; n != 0 {
			s.ownLimits = true
			s.leastAttempts = lowerLimit(s.leastAttempts, n)
			if lowerLimit(s.mostAttempts, n) == s.mostAttempts {
				s.mostAttempts = n
			}
		}
	}
}

// lowerLimit returns the smaller limit. Each limit may be NoMaxAttempts.
func lowerLimit(a, b int) int {
	switch {
	case a == NoMaxAttempts:
		return b
	case b == NoMaxAttempts:
		return a
	}
	return min(a, b)
}

// limitOf returns the limit of attempts of the handler that has failed. With nil, no handler has
// failed.
func (s *Subscriber) limitOf(h *handler) int {
	if h != nil && h.maxAttempts != 0 {
		return h.maxAttempts
	}
	return s.opt.MaxAttempts
}

// exhausted reports whether an event must not be tried, because an earlier attempt was the last
// one. No process has seen the end of that attempt.
func (s *Subscriber) exhausted(d *delivery) bool {
	if !s.ownLimits {
		return false
	}
	limit := NoMaxAttempts
	for i := range s.handlers {
		if h := &s.handlers[i]; (h.eventType == "" || h.eventType == d.Type) && match(h.pattern, d.Subject) {
			limit = lowerLimit(limit, s.limitOf(h))
		}
	}
	return limit != NoMaxAttempts && d.attempt > limit
}
