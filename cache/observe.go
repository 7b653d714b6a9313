package cache

import (
	"context"
	"errors"
	"fmt"

	"github.com/redstart-go/redstart/internal/flight"
	"github.com/redstart-go/redstart/observe"
)

// observe begins a span if the client has an Observer.
func (s *store) observe(ctx context.Context, verb string) (context.Context, func(error)) {
	if !s.core.Observed() {
		return ctx, func(error) {}
	}
	return s.core.Start(ctx, observe.Operation{Pattern: "cache", Name: s.name, Verb: verb})
}

// spanError returns the error of a span. A miss is no error.
func spanError(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// endPanicked ends the span of a call when a loader panics. Defer it.
func endPanicked(end func(error)) {
	p := recover()
	if p == nil {
		return
	}
	value := p
	if load, ok := p.(*flight.PanicError); ok { // the text of the PanicError has the whole stack
		value = load.Value
	}
	defer panic(p) // also if the Observer panics
	end(fmt.Errorf("cache: panic in a loader: %v", value))
}

// Answers without the server, as logged.
const (
	policyLoad  = "load without the server"
	policyStale = "stale value"
	policyNear  = "near cache"
)

// degraded logs an answer without the server, unless the call has ended or the cache is closed.
func (s *store) degraded(ctx context.Context, policy string, err error) {
	if ctx.Err() == nil && s.life.group.Context().Err() == nil {
		s.core.Degraded("cache", s.name, policy, err)
	}
}

// degradedStale logs that a stale value is served, because the load failed as well.
func (s *store) degradedStale(ctx context.Context, down, failed error) {
	s.degraded(ctx, policyStale, fmt.Errorf("%w; the load failed too: %w", down, failed))
}

// policyOf names the answer of takeSuspect.
func policyOf(from Source) string {
	if from == FromStale {
		return policyStale
	}
	return policyNear
}
