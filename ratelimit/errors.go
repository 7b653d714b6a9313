package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The errors of this package. A refusal is not an error: see [Result.Allowed]. If Redis does not
// answer, the error has one of the classes of package redstart.
var (
	// ErrCost reports a cost below 1, or a cost above what a rule can ever admit at once. A retry
	// cannot succeed.
	ErrCost = errors.New("ratelimit: impossible cost")
	// ErrDeadline reports that the context of Wait would end before the request is admitted. Wait
	// returns it immediately, as a [*WaitError].
	ErrDeadline = errors.New("ratelimit: the context ends before the request is admitted")
	// ErrQueueFull reports that [Options.MaxWaiters] callers wait for the key already. It is a
	// [*WaitError].
	ErrQueueFull = errors.New("ratelimit: too many callers wait for the key")
	// ErrNoKey reports that a [KeyFunc] found no key in the request.
	ErrNoKey = errors.New("ratelimit: the request has no key")
	// ErrBusy reports that all permits of a [Concurrency] are out. It is a [*BusyError].
	ErrBusy = errors.New("ratelimit: all permits are taken")
	// ErrExpired reports that a permit expired before it was extended or released. Other work may
	// run in its place.
	ErrExpired = errors.New("ratelimit: the permit has expired")
)

// errNoName refuses an empty name of a limiter.
var errNoName = errors.New("ratelimit: new: the name is empty: pass a name, which is part of the keys")

// BusyError is [ErrBusy] with a time.
type BusyError struct {
	// RetryAfter is when the first permit expires if it is neither extended nor released. Permits
	// are usually released earlier.
	RetryAfter time.Duration
}

// Error returns the reason and RetryAfter.
func (e *BusyError) Error() string {
	return fmt.Sprintf("%v; the first lapses in %v unless it is released", ErrBusy, e.RetryAfter)
}

// Is reports whether target is [ErrBusy].
func (e *BusyError) Is(target error) bool { return target == ErrBusy }

// WaitError is [ErrDeadline] or [ErrQueueFull] with a time.
type WaitError struct {
	// RetryAfter is the earliest time at which this call would have been admitted, if no other
	// waiter leaves the queue.
	RetryAfter time.Duration
	// Rule is the name of the binding rule. It is empty if Redis has not answered yet.
	Rule string

	reason error
}

// Error returns the reason and RetryAfter.
func (e *WaitError) Error() string {
	return fmt.Sprintf("%v: rule %q admits in %v", e.reason, e.Rule, e.RetryAfter.Round(time.Microsecond))
}

// Is reports whether target is the reason. [ErrDeadline] is also context.DeadlineExceeded.
func (e *WaitError) Is(target error) bool {
	return target == e.reason || e.reason == ErrDeadline && target == context.DeadlineExceeded
}
