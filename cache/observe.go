package cache

import (
	"context"
	"errors"
	"fmt"

	"github.com/redstart-go/redstart/internal/flight"
	"github.com/redstart-go/redstart/observe"
)

// observe begins a span, if the client has an Observer.
func (s *store) observe(ctx context.Context, verb string) (context.Context, func(error)) {
	if !s.core.Observed() {
		return ctx, func(error) {}
	}
	return s.core.Start(ctx, observe.Operation{Pattern: "cache", Name: s.name, Verb: verb})
}

// spanError is the error that a span ends with: a miss is an answer and no failure.
func spanError(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// endPanicked ends the span of a call that a loader's panic leaves. Defer it.
func endPanicked(end func(error)) {
	p := recover()
	if p == nil {
		return
	}
	value := p
	if load, ok := p.(*flight.PanicError); ok { // its text has the whole stack
		value = load.Value
	}
	defer panic(p) // also if the observer panics
	end(fmt.Errorf("cache: panic in a loader: %v", value))
}

// How calls are answered without the server.
const (
	policyLoad  = "load without the server"
	policyStale = "stale value"
	policyNear  = "near cache"
)

// degraded logs that a call is answered without the server, unless the call has ended or the cache is closed.
func (s *store) degraded(ctx context.Context, policy string, err error) {
	if ctx.Err() == nil && s.life.group.Context().Err() == nil {
		s.core.Degraded("cache", s.name, policy, err)
	}
}

// degradedStale is degraded for a stale value, which is served since the load failed as well.
func (s *store) degradedStale(ctx context.Context, down, failed error) {
	s.degraded(ctx, policyStale, fmt.Errorf("%w; the load failed too: %w", down, failed))
}

// policyOf names how takeSuspect has answered.
func policyOf(from Source) string {
	if from == FromStale {
		return policyStale
	}
	return policyNear
}
