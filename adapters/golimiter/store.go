package redstartgolimiter

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/sethvargo/go-limiter"

	"github.com/redstart-go/redstart/ratelimit"
)

// Store is a limiter.Store. Use [New]. Its methods are safe for concurrent use.
type Store struct {
	base   *ratelimit.Limiter
	plans  *ratelimit.Plans
	closed atomic.Bool
}

var _ limiter.Store = (*Store)(nil)

// New returns a Store. The rules of l apply to all keys without a limit of their own.
func New(l *ratelimit.Limiter) (*Store, error) {
	plans, err := ratelimit.NewPlans(l, ratelimit.PlansOptions{})
	if err != nil {
		return nil, fmt.Errorf("redstartgolimiter: %w", err)
	}
	return &Store{base: l, plans: plans}, nil
}

// Take takes a token of key. It returns the limit and the remaining tokens of the binding rule, and
// reset in Unix nanoseconds: after a refusal, when the next Take is admitted; otherwise, when more
// than remaining are available. It is math.MaxInt64 if the limit is 0. Without a limit, tokens and
// remaining are math.MaxInt64. It takes at most one round trip if the limit of the key is known.
func (s *Store) Take(ctx context.Context, key string) (tokens, remaining, reset uint64, ok bool, err error) {
	if s.closed.Load() {
		return 0, 0, 0, false, limiter.ErrStopped
	}

	result, err := s.plans.For(ctx, key).Allow(ctx, key)
	if err != nil {
		return 0, 0, 0, false, err
	}

	wait := result.NextAfter
	if !result.Allowed {
		wait = result.RetryAfter
	}
	reset = math.MaxInt64
	if wait != ratelimit.Never {
		reset = uint64(time.Now().Add(wait).UnixNano())
	}
	return count(result.Limit), count(result.Remaining), reset, result.Allowed, nil
}

// Get returns the limit and the remaining tokens of key. It takes no token.
func (s *Store) Get(ctx context.Context, key string) (tokens, remaining uint64, err error) {
	if s.closed.Load() {
		return 0, 0, limiter.ErrStopped
	}

	result, err := s.plans.For(ctx, key).Peek(ctx, key)
	return count(result.Limit), count(result.Remaining), err
}

// Set sets the limit of key, for all processes, and makes all its tokens available. It takes two
// round trips.
func (s *Store) Set(ctx context.Context, key string, tokens uint64, interval time.Duration) error {
	if s.closed.Load() {
		return limiter.ErrStopped
	}

	limit := int64(min(tokens, math.MaxInt64)) // a limit above the maximum of a rule is refused
	if err := s.plans.Set(ctx, key, ratelimit.Rule{Limit: limit, Window: interval}); err != nil {
		return err
	}
	return s.base.Reset(ctx, key)
}

// Burst makes tokens of key available that were taken. If fewer were taken, it changes nothing and
// returns an error that is errors.ErrUnsupported. It takes two round trips.
func (s *Store) Burst(ctx context.Context, key string, tokens uint64) error {
	if s.closed.Load() {
		return limiter.ErrStopped
	}
	if tokens == 0 {
		return nil
	}

	l := s.plans.For(ctx, key)
	result, err := l.Peek(ctx, key)
	if err != nil {
		return err
	}
	if taken := result.Limit - result.Remaining; taken < 0 || tokens > uint64(taken) {
		return fmt.Errorf("redstartgolimiter: burst of %d for key %.64q: %d tokens are taken, and a key cannot have "+
			"more than its limit: use Set: %w", tokens, key, max(taken, 0), errors.ErrUnsupported)
	}
	return l.Refund(ctx, key, int64(tokens))
}

// Close ends the Store. Later calls return limiter.ErrStopped. The client stays open, and the
// counts stay in Redis.
func (s *Store) Close(context.Context) error {
	s.closed.Store(true)
	return nil
}

// count converts a number of tokens. [ratelimit.Unlimited] becomes the greatest int64.
func count(n int64) uint64 {
	if n < 0 {
		return math.MaxInt64
	}
	return uint64(n)
}
