package lock

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"time"

	"github.com/redstart-go/redstart"
)

// acquireTarget acquires a target and waits if it is held. After an error, nothing is left to
// release.
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

	// The waiter is registered before the request that may queue it: its notification may arrive
	// before the answer.
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
	won.waited = l.clock().mono - sent.mono
	if err != nil {
		l.unconfirmed.add(ls) // leave the queue, or release what was handed over in the meantime
	}

	return won, err
}

// wait waits in the queue until the lock is handed over, the context ends, or Options.Wait ends.
// The first request was sent at began and has put the waiter into the queue.
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

	var failure error // of the last request; nil after an answer
	for {
		select {
		case h := <-w.wake:
			if since, ok := l.handoffStart(c, h, l.heartbeats.latest(t, reading)); ok {
				now := l.clock()
				l.stats.waitedFor(now.mono-began.mono, now.mono-since.mono)
				return grant{token: h.token, start: since, provisional: true}, nil
			}
		case <-retry.C:
		case <-ctx.Done():
			l.stats.refused.Add(1)
			return won, fmt.Errorf("%w: wait for %s: %w", ErrNotAcquired, quoted(t.name), contextError(ctx))
		case <-l.done:
			return won, errClosing("acquire", t)
		case <-end:
			return won, l.waitEnded(ls, got.busyName, cmp.Or(failure, l.heartbeats.failureOf(t)))
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
		case ctx.Err() != nil: // the next iteration returns the error
		case errors.Is(err, redstart.ErrUnavailable) || errors.Is(err, redstart.ErrIndeterminate):
			// An outage that ends before the wait ends is part of the wait. Another request is
			// safe: if the id owns the lock already, the server answers with its token.
			failure = err
			retry.Reset(retryMin + rand.N(retryMin))
		default:
			return won, fmt.Errorf("lock: acquire %s: %w", quoted(t.name), err)
		}
	}
}

// waitEnded returns the error after Options.Wait. failure is the last error of the server; nil if
// the server answered.
func (l *Locker) waitEnded(ls *lease, busyName string, failure error) error {
	if failure != nil {
		return fmt.Errorf("lock: acquire %s: no answer at the end of the wait of %v: %w",
			quoted(ls.target.name), ls.settings.wait, failure)
	}

	l.stats.refused.Add(1)
	return fmt.Errorf("%w: %s is still held by another holder after %v: raise Wait or try again later",
		ErrNotAcquired, quoted(busyName), ls.settings.wait)
}

// clockReading relates the server's clock to the local clocks: at the moment local or later, the
// server's clock showed server, in µs.
type clockReading struct {
	local  instant
	server int64
}

// clockReadingValid is how long after a reading both clocks are assumed to run at the same speed.
const clockReadingValid = time.Minute

// handoffStart returns a lower bound for the moment when the lock was handed over, by the local
// clocks. ok reports that the message alone proves that this process holds the lock. No request is
// needed: until the grant ends, the server does not hand the lock to another waiter, and the margin
// is a part of the grant. Half of the rest is left for the renewal that confirms the grant. ok is
// false if the message is older than the last answer, or late:
//
//	server   answers 1 ─ hands the lock over ── the grant ends, hands it to another ─ …
//	here     asks 1 ────────────────────────────────── the message arrives, counted from 1: too late
func (l *Locker) handoffStart(c *callSettings, h handoff, reading clockReading) (since instant, ok bool) {
	after := h.at - reading.server
	if c.handoffMargin(l.opt.MinReplicas) == 0 || h.token == 0 || h.token < h.at || after < 0 ||
		after > clockReadingValid.Microseconds() {
		return since, false
	}
	d, now := time.Duration(after)*time.Microsecond, l.clock()
	since = instant{min(reading.local.mono+d, now.mono), min(reading.local.wall+d, now.wall)}
	return since, now.mono-since.mono < grantTTL/2 && now.wall-since.wall < grantTTL/2
}

// busyIndex is a target's index in recentlyBusy.
func (l *Locker) busyIndex(t *target) uint8 { return uint8(maphash.String(l.seed, t.state[0])) }

const retryMin = 50 * time.Millisecond

// nextPoll is when to ask again without a notification. It is the end of the present lease, in case
// its holder crashed, and early enough to count as alive.
func nextPoll(freeIn time.Duration) time.Duration {
	return min(freeIn+time.Millisecond, pollEvery-rand.N(pollEvery/4))
}

// contextError returns ctx's error and its cause.
func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || errors.Is(cause, err) {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}
