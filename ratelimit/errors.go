package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Errors of this package. A refusal is none: it is Result.Allowed. Where Redis could not be asked the error is one of
// package redstart's classes.
var (
	// ErrCost: the cost is below one, or above what a rule can ever admit at once. Waiting does not help.
	ErrCost = errors.New("ratelimit: impossible cost")
	// ErrDeadline: Wait's context would end before the request is admitted; it returned at once. The error is a *WaitError.
	ErrDeadline = errors.New("ratelimit: the context ends before the request is admitted")
	// ErrQueueFull: Options.MaxWaiters callers wait for the key already. The error is a *WaitError.
	ErrQueueFull = errors.New("ratelimit: too many callers wait for the key")
	// ErrNoKey: a KeyFunc found nothing in the request to tell it by.
	ErrNoKey = errors.New("ratelimit: the request has nothing to tell it by")
	// ErrBusy: all permits of a Concurrency are out. The error is a *BusyError.
	ErrBusy = errors.New("ratelimit: all permits are taken")
	// ErrExpired: the permit lapsed before it was extended or released; another may run in its place.
	ErrExpired = errors.New("ratelimit: the permit has expired")
)

// BusyError is ErrBusy with a time.
type BusyError struct {
	// RetryAfter is when the first permit lapses if it is neither extended nor released: the latest time at which trying again
	// makes sense. Permits are usually released earlier.
	RetryAfter time.Duration
}

// Error says when the first permit lapses.
func (e *BusyError) Error() string {
	return fmt.Sprintf("%v; the first lapses in %v unless it is released", ErrBusy, e.RetryAfter)
}

// Is reports whether target is ErrBusy.
func (e *BusyError) Is(target error) bool { return target == ErrBusy }

// WaitError is ErrDeadline or ErrQueueFull with a time.
type WaitError struct {
	// RetryAfter is when this call would have been admitted at the earliest, if no other waiter leaves the queue.
	RetryAfter time.Duration
	// Rule is the name of the rule that binds; empty if Redis has not answered yet.
	Rule string

	reason error
}

// Error says the reason and the time.
func (e *WaitError) Error() string {
	return fmt.Sprintf("%v: rule %q admits in %v", e.reason, e.Rule, e.RetryAfter.Round(time.Microsecond))
}

// Is reports whether target is the reason. ErrDeadline is a context.DeadlineExceeded too.
func (e *WaitError) Is(target error) bool {
	return target == e.reason || e.reason == ErrDeadline && target == context.DeadlineExceeded
}
