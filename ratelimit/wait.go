package ratelimit

import (
	"context"
	"fmt"
	"time"

	"github.com/redstart-go/redstart/observe"
)

// Wait blocks until key is allowed one token, and charges it. Several waiters of one key are served in no order.
//
// It returns nil when allowed, or when Options.Outage admits; ErrDeadline at once if ctx ends before the next token
// can come; ctx's error when it ends; and AllowN's errors.
func (l *Limiter) Wait(ctx context.Context, key string) error {
	ctx, end := l.core.Start(ctx, observe.Operation{Pattern: "ratelimit", Name: l.name, Verb: "wait"})
	err := l.wait(ctx, key)
	if end != nil {
		end(err)
	}
	return err
}

func (l *Limiter) wait(ctx context.Context, key string) error {
	var timer *time.Timer
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("ratelimit: wait: %w", err)
		}
		result, err := l.allow(ctx, key, 1)
		if err != nil {
			return err
		}
		if result.Allowed {
			return nil
		}
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < result.RetryAfter {
			return fmt.Errorf("%w: rule %q admits in %v, the context ends in %v", errDeadline, result.Rule, result.RetryAfter, time.Until(deadline).Round(time.Microsecond))
		}
		pause := min(result.RetryAfter, believed) // somebody may reset or refund
		if timer == nil {
			timer = time.NewTimer(pause)
			defer timer.Stop()
		} else {
			timer.Reset(pause)
		}
		select {
		case <-timer.C:
		case <-ctx.Done():
			return fmt.Errorf("ratelimit: wait: %w", ctx.Err())
		}
	}
}

// errDeadline is ErrDeadline, and context.DeadlineExceeded for callers who only know that.
var errDeadline = deadlineError{}

type deadlineError struct{}

func (deadlineError) Error() string { return ErrDeadline.Error() }
func (deadlineError) Is(target error) bool {
	return target == ErrDeadline || target == context.DeadlineExceeded
}
