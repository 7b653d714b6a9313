package idempotency

import (
	"context"
	"errors"
	"time"

	"github.com/redstart-go/redstart/internal/fault"
)

const (
	// maxPending is how many writes are tried again in the background at the same time. Each has at
	// most Options.MaxResponseBytes.
	maxPending = 64

	minRetry = 50 * time.Millisecond
	maxRetry = time.Second
)

// keep stores the result of an execution before it is sent. nil: the result is not repeatable. If
// Redis does not answer within the command timeout, the response is sent, and the result is stored
// in the background until the lease would have expired.
func (e *Executor) keep(l *lease, res *result) {
	if l.lost.Load() {
		e.counts.lost.Add(1)
		e.core.Warn("idempotency: the lease of an execution was lost, its result is not stored", e.name, "name", e.name)
		return
	}

	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.ctx), e.core.Timeout())
	defer cancel()
	stored, err := l.record.store(ctx, res)
	if err == nil {
		if !stored {
			e.counts.lost.Add(1)
			e.core.Warn("idempotency: the lease of an execution was lost, its result is not stored", e.name, "name", e.name)
		}
		return
	}

	if errors.Is(err, fault.ErrTooLarge) || !e.keepTrying(func(ctx context.Context) error {
		stored, err := l.record.store(ctx, res)
		if err == nil && !stored {
			e.counts.lost.Add(1)
		}
		return err
	}, e.unstored) {
		e.unstored(err)
	}
}

func (e *Executor) unstored(err error) {
	e.counts.unstored.Add(1)
	e.core.Warn("idempotency: a result was not stored", e.name, "name", e.name, "error", err)
}

// free releases a lease without a result. If Redis does not answer, the release is tried again in
// the background, and at worst the lease expires.
func (e *Executor) free(rec *record) {
	ctx, cancel := context.WithTimeout(context.Background(), e.core.Timeout())
	defer cancel()
	if rec.release(ctx) != nil {
		e.freeLater(rec)
	}
}

func (e *Executor) freeLater(rec *record) { e.keepTrying(rec.release, func(error) {}) }

// keepTrying calls write in the background until it succeeds, at most for the time of a lease:
// after it, the record has expired. failed gets the last error. keepTrying returns false if
// maxPending writes wait, or if the client closes.
func (e *Executor) keepTrying(write func(context.Context) error, failed func(error)) bool {
	if e.pending.Add(1) > maxPending {
		e.pending.Add(-1)
		return false
	}
	started := e.core.Group().Work("write of an idempotency record", func(ctx context.Context) {
		defer e.pending.Add(-1)
		ctx, cancel := context.WithTimeout(ctx, e.opt.Lease)
		defer cancel()
		wait := minRetry
		timer := time.NewTimer(wait)
		defer timer.Stop()
		err := context.DeadlineExceeded
		for {
			select {
			case <-ctx.Done():
				failed(err)
				return
			case <-timer.C:
			}
			if err = write(ctx); err == nil {
				return
			}
			wait = min(2*wait, maxRetry)
			timer.Reset(wait)
		}
	})
	if !started {
		e.pending.Add(-1)
	}
	return started
}

// retryable calls the user's function.
func (e *Executor) retryable(status int) bool {
	return e.opt.Retryable != nil && e.opt.Retryable(status)
}
