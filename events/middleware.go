package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Handler handles an event of any type, its data undecoded. It is what a [Middleware] wraps.
type Handler func(ctx context.Context, e Event[json.RawMessage]) error

// Middleware wraps a handler, as HTTP middleware does: what it returns is called in place of next, and calls next, or not.
type Middleware func(next Handler) Handler

// Use wraps every handler of the subscriber. The first middleware is the outermost. It sees the event of each attempt, once per
// handler; the context, the data and the other fields that it passes on are those that the handler gets. What it returns counts as
// the handler's result. Call it before Run. Errors: ErrRunning; a nil middleware. One that panics while it wraps, or returns nil, is an error of Run.
func (s *Subscriber) Use(middleware ...Middleware) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.began {
		return fmt.Errorf("events: use middleware: %w", ErrRunning)
	}
	for i, m := range middleware {
		if m == nil {
			return fmt.Errorf("events: use middleware: number %d is nil", i)
		}
	}
	s.middleware = append(s.middleware, middleware...)
	return nil
}

// wrap puts the middleware around the handlers.
func (s *Subscriber) wrap() error {
	if len(s.middleware) == 0 {
		return nil
	}
	for i := range s.handlers {
		inner := s.handlers[i].call
		call := Handler(func(ctx context.Context, e Event[json.RawMessage]) error { return inner(ctx, deliveryOf(e)) })
		for k := len(s.middleware) - 1; k >= 0; k-- {
			next := call
			err := guard(func() error { call = s.middleware[k](next); return nil })
			if err == nil && call == nil {
				err = errors.New("it returned no handler")
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

// deliveryOf is the event that a middleware passes on.
func deliveryOf(e Event[json.RawMessage]) *delivery {
	return &delivery{envelope: envelope{ID: e.ID, Source: e.Source, Type: e.Type, Subject: e.Channel, Time: e.Time, Data: e.Data},
		position: e.Position, attempt: e.Attempt, fence: e.Fence}
}

// HandleOption varies one handler.
type HandleOption struct {
	name string
	set  func(*handler) error
}

// MaxAttempts is how often an event is tried whose attempt this handler fails, instead of SubscriberOptions.MaxAttempts. At least 1,
// or NoMaxAttempts. An attempt that ended with its process counts: the least limit of the event's handlers holds then. Durable.
func MaxAttempts(n int) HandleOption {
	return HandleOption{"MaxAttempts", func(h *handler) error {
		if n < 1 && n != NoMaxAttempts {
			return fmt.Errorf("MaxAttempts is %d: at least 1, or NoMaxAttempts", n)
		}
		h.maxAttempts = n
		return nil
	}}
}

// Backoff is the least time between attempt n (from 1), which this handler has failed, and the next, instead of
// SubscriberOptions.Backoff. After an attempt that ended with its process the subscriber's holds. Durable.
func Backoff(backoff func(attempt int) time.Duration) HandleOption {
	return HandleOption{"Backoff", func(h *handler) error {
		if backoff == nil {
			return errors.New("Backoff is nil")
		}
		h.backoff = backoff
		return nil
	}}
}

// setLimits finds the largest and the least number of attempts of any event.
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

// lowerLimit is the lower one of two limits, of which each may be NoMaxAttempts.
func lowerLimit(a, b int) int {
	switch {
	case a == NoMaxAttempts:
		return b
	case b == NoMaxAttempts:
		return a
	}
	return min(a, b)
}

// limitOf is how often an event is tried whose attempt this handler failed; with nil, no handler did.
func (s *Subscriber) limitOf(h *handler) int {
	if h != nil && h.maxAttempts != 0 {
		return h.maxAttempts
	}
	return s.opt.MaxAttempts
}

// exhausted reports whether an event must not be tried, because an attempt before, which no process saw end, was its last.
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
