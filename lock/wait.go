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

// enter takes a target, and waits its turn if it is taken. When it fails, nothing stays behind.
func (l *Locker) acquireTarget(ctx context.Context, ls *lease) (grant, error) {
	t := ls.target
	if ls.settings.wait == 0 {
		return l.try(ctx, ls)
	}
	if ctx.Err() != nil {
		return grant{}, fmt.Errorf("lock: acquire %s: %w", quoted(t.name), contextError(ctx))
	}
	busy := &l.recentlyBusy[l.busyIndex(t)]
	if !busy.Load() {
		sent := l.clock()
		got, _, err := l.fastAcquire(ctx, ls)
		if err != nil {
			l.releaseIfUncertain(err, ls)
			return grant{}, fmt.Errorf("lock: acquire %s: %w", quoted(t.name), err)
		}
		if got.token > 0 {
			return grant{token: got.token, start: sent}, nil
		}
	}
	// Before the question that may queue us: the wake-up may come before its answer.
	w := l.wakeUps.register(ls.id)
	defer l.wakeUps.unregister(w)
	sent := l.clock()
	got, err := l.fullAcquire(ctx, ls, true, 0)
	busy.Store(err == nil && got.token == 0)
	if err != nil {
		l.releaseIfUncertain(err, ls)
		return grant{}, fmt.Errorf("lock: acquire %s: %w", quoted(t.name), err)
	}
	if got.token > 0 {
		return grant{token: got.token, start: sent}, nil
	}
	won, err := l.wait(ctx, ls, w, sent, got)
	if err != nil {
		l.unconfirmed.add(ls) // leave the queue, pass on what may have come
	}
	return won, err
}

// wait stays in the queue that the first question, which left when it began, put us in, until it is our turn or patience ends.
func (l *Locker) wait(ctx context.Context, ls *lease, w *waiter, began instant, got answer) (won grant, err error) {
	t, c := ls.target, ls.settings
	l.stats.waited.Add(1)
	l.stats.waiting.Add(1)
	defer l.stats.waiting.Add(-1)
	l.wakeUps.subscribe(w, l.channel(t))
	var end <-chan time.Time
	if c.wait != WaitForever {
		timer := time.NewTimer(c.wait)
		defer timer.Stop()
		end = timer.C
	}
	reading := clockReading{began, got.serverNow}
	l.heartbeats.join(w.id, t, got.freeIn, reading)
	defer l.heartbeats.leave(w.id, t)
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	var failure error
	for {
		select {
		case p := <-w.wake:
			latest, _ := l.heartbeats.state(t, reading)
			if since, ok := l.handoffStart(c, p, latest); ok {
				now := l.clock()
				l.stats.waitedFor(now.mono-began.mono, now.mono-since.mono)
				return grant{token: p.token, start: since, provisional: true}, nil
			}
		case <-retry.C:
		case <-ctx.Done():
			l.stats.refused.Add(1)
			return won, fmt.Errorf("%w: waiting for %s: %w", ErrNotAcquired, quoted(t.name), contextError(ctx))
		case <-l.done:
			return won, errClosing("acquire", t)
		case <-end:
			if _, lost := l.heartbeats.state(t, reading); failure == nil {
				failure = lost
			}
			if failure != nil {
				return won, fmt.Errorf("lock: acquire %s: after waiting for %v: %w", quoted(t.name), c.wait, failure)
			}
			l.stats.refused.Add(1)
			return won, fmt.Errorf("%w: %s is still held by another after %v", ErrNotAcquired, quoted(got.busyName), c.wait)
		}
		sent := l.clock()
		answered, err := l.fullAcquire(ctx, ls, true, max(sent.mono-began.mono, time.Microsecond))
		if err == nil {
			got = answered
		}
		switch {
		case err == nil && got.token > 0:
			l.stats.waitedFor(sent.mono-began.mono, got.handoffAge)
			return grant{token: got.token, start: sent}, nil
		case err == nil:
			failure, reading = nil, clockReading{sent, got.serverNow}
			retry.Reset(time.Hour)
		case ctx.Err() != nil: // the next turn says so
		case errors.Is(err, redstart.ErrUnavailable) || errors.Is(err, redstart.ErrIndeterminate):
			// An outage that ends within our patience is part of the wait. Asking again is no
			// second write: an id that was given the lock is told so.
			failure = err
			retry.Reset(retryMin + rand.N(retryMin))
		default:
			return won, fmt.Errorf("lock: acquire %s: %w", quoted(t.name), err)
		}
	}
}

// bearing relates the server's clock to ours: it showed server µs at the moment ours or later.
type clockReading struct {
	local  instant
	server int64
}

// bearingsLast is how long after a bearing the server's clock and ours are taken to have run alike.
const clockReadingValid = time.Minute

// since is the moment, by our clocks and no later than it was, when the lock was passed to us; and whether we hold it on the word
// of the message. That needs no question to the server: until the grant ends nobody else gets the lock, and the part of it
// that is the margin stays as it is. Half of the rest is for the renewal that confirms it. Not so if the message
// is of an earlier grant than the last refusal, or late:
//
//	server   refuses, 1 ─ passes to us ───── the grant lapses, passes to another ─ …
//	here     asks, 1 ───────────────────────────────────── the message arrives, counted from 1: over
func (l *Locker) handoffStart(c *callSettings, p handoff, reading clockReading) (since instant, ok bool) {
	after := p.at - reading.server
	if c.handoffMargin(l.opt.MinReplicas) == 0 || p.token == 0 || p.token < p.at || after < 0 || after > clockReadingValid.Microseconds() {
		return since, false
	}
	d, now := time.Duration(after)*time.Microsecond, l.clock()
	since = instant{min(reading.local.mono+d, now.mono), min(reading.local.wall+d, now.wall)}
	return since, now.mono-since.mono < grantTTL/2 && now.wall-since.wall < grantTTL/2
}

// mark is a target's place in busy.
func (l *Locker) busyIndex(t *target) uint8 { return uint8(maphash.String(l.seed, t.state[0])) }

const retryMin = 50 * time.Millisecond

// nextPoll is when to ask again without a wake-up: at the end of the present lease, in case its holder died,
// and often enough to count as alive.
func nextPoll(freeIn time.Duration) time.Duration {
	return min(freeIn+time.Millisecond, pollEvery-rand.N(pollEvery/4))
}

// because is ctx's error and its cause.
func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || errors.Is(cause, err) {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}
