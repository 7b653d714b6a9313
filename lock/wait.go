package lock

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"time"

	"github.com/redstart-go/redstart"
)

// acquire asks, and waits its turn if the answer is no.
func (l *Locker) acquire(ctx context.Context, t *target, id string) (*Lock, error) {
	token, sent, err := l.enter(ctx, t, id, l.opt.Wait)
	if err != nil {
		return nil, err
	}
	return l.own(ctx, id, token, sent, t)
}

// enter is acquire up to the token and the moment from which the lease counts. When it fails, nothing stays behind.
func (l *Locker) enter(ctx context.Context, t *target, id string, patience time.Duration) (token int64, sent instant, err error) {
	if ctx.Err() != nil {
		return 0, sent, fmt.Errorf("lock: acquire %s: %w", shown(t.name), because(ctx))
	}
	busy := &l.busy[l.mark(t)]
	if !busy.Load() {
		sent = l.clock()
		got, _, err := l.take(ctx, t, id)
		if err != nil {
			l.doubt(err, t, id)
			return 0, sent, fmt.Errorf("lock: acquire %s: %w", shown(t.name), err)
		}
		if got.token > 0 {
			return got.token, sent, nil
		}
	}
	// Before the question that may queue us: the wake-up may come before its answer.
	w := l.wakes.expect(id)
	defer l.wakes.forget(w)
	sent = l.clock()
	got, err := l.ask(ctx, t, id, true, 0)
	busy.Store(err == nil && got.token == 0)
	if err != nil {
		l.doubt(err, t, id)
		return 0, sent, fmt.Errorf("lock: acquire %s: %w", shown(t.name), err)
	}
	if got.token == 0 {
		if got, sent, err = l.wait(ctx, t, w, sent, got.soon, patience); err != nil {
			l.orphans.free(id, 0, t) // leave the queue, pass on what may have come
		}
	}
	return got.token, sent, err
}

// wait stays in the queue that the first question put us in, until it is our turn or patience ends.
func (l *Locker) wait(ctx context.Context, t *target, w *waiter, began instant, soon, patience time.Duration) (got answer, sent instant, err error) {
	l.stats.waited.Add(1)
	l.stats.waiting.Add(1)
	defer l.stats.waiting.Add(-1)
	l.wakes.listen(w, l.channel(t))
	var end <-chan time.Time
	if patience != WaitForever {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		end = timer.C
	}
	timer := time.NewTimer(nextPoll(soon))
	defer timer.Stop()
	var failure error
	for {
		select {
		case <-w.wake:
		case <-timer.C:
		case <-ctx.Done():
			l.stats.refused.Add(1)
			return got, sent, fmt.Errorf("%w: waiting for %s: %w", ErrNotAcquired, shown(t.name), because(ctx))
		case <-l.done:
			return got, sent, fmt.Errorf("lock: acquire %s: %w: the client was closed", shown(t.name), redstart.ErrUnavailable)
		case <-end:
			if failure != nil {
				return got, sent, fmt.Errorf("lock: acquire %s: after waiting for %v: %w", shown(t.name), patience, failure)
			}
			l.stats.refused.Add(1)
			return got, sent, fmt.Errorf("%w: %s is still held by another after %v", ErrNotAcquired, shown(t.name), patience)
		}
		sent = l.clock()
		got, err = l.ask(ctx, t, w.id, true, max(sent.mono-began.mono, time.Microsecond))
		switch {
		case err == nil && got.token > 0:
			l.stats.waitedFor(sent.mono-began.mono, got.age)
			return got, sent, nil
		case err == nil:
			failure = nil
			timer.Reset(nextPoll(got.soon))
		case ctx.Err() != nil: // the next turn says so
		case errors.Is(err, redstart.ErrUnavailable) || errors.Is(err, redstart.ErrIndeterminate):
			// An outage that ends within our patience is part of the wait. Asking again is no
			// second write: an id that was given the lock is told so.
			failure = err
			timer.Reset(retryMin + rand.N(retryMin))
		default:
			return got, sent, fmt.Errorf("lock: acquire %s: %w", shown(t.name), err)
		}
	}
}

// mark is a target's place in busy.
func (l *Locker) mark(t *target) uint8 { return uint8(maphash.String(l.seed, t.state)) }

const retryMin = 50 * time.Millisecond

// nextPoll is when to ask again without a wake-up: at the end of the present lease, in case its holder died,
// and often enough to count as alive.
func nextPoll(soon time.Duration) time.Duration {
	return min(soon+time.Millisecond, poll-rand.N(poll/4))
}

// because is ctx's error and its cause.
func because(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || errors.Is(cause, err) {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}
