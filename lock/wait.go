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
func (l *Locker) enter(ctx context.Context, ls *lease) (given, error) {
	t := ls.target
	if ls.terms.wait == 0 {
		return l.try(ctx, ls)
	}
	if ctx.Err() != nil {
		return given{}, fmt.Errorf("lock: acquire %s: %w", shown(t.name), because(ctx))
	}
	busy := &l.busy[l.mark(t)]
	if !busy.Load() {
		sent := l.clock()
		got, _, err := l.take(ctx, ls)
		if err != nil {
			l.doubt(err, ls)
			return given{}, fmt.Errorf("lock: acquire %s: %w", shown(t.name), err)
		}
		if got.token > 0 {
			return given{token: got.token, since: sent}, nil
		}
	}
	// Before the question that may queue us: the wake-up may come before its answer.
	w := l.wakes.expect(ls.id)
	defer l.wakes.forget(w)
	sent := l.clock()
	got, err := l.ask(ctx, ls, true, 0)
	busy.Store(err == nil && got.token == 0)
	if err != nil {
		l.doubt(err, ls)
		return given{}, fmt.Errorf("lock: acquire %s: %w", shown(t.name), err)
	}
	if got.token > 0 {
		return given{token: got.token, since: sent}, nil
	}
	won, err := l.wait(ctx, ls, w, sent, got)
	if err != nil {
		l.unconfirmed.add(ls) // leave the queue, pass on what may have come
	}
	return won, err
}

// wait stays in the queue that the first question, which left when it began, put us in, until it is our turn or patience ends.
func (l *Locker) wait(ctx context.Context, ls *lease, w *waiter, began instant, got answer) (won given, err error) {
	t, c := ls.target, ls.terms
	l.stats.waited.Add(1)
	l.stats.waiting.Add(1)
	defer l.stats.waiting.Add(-1)
	l.wakes.listen(w, l.channel(t))
	var end <-chan time.Time
	if c.wait != WaitForever {
		timer := time.NewTimer(c.wait)
		defer timer.Stop()
		end = timer.C
	}
	known := bearing{began, got.now}
	l.lines.join(w.id, t, got.soon, known)
	defer l.lines.leave(w.id, t)
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	var failure error
	for {
		select {
		case p := <-w.wake:
			latest, _ := l.lines.state(t, known)
			if since, ok := l.since(c, p, latest); ok {
				now := l.clock()
				l.stats.waitedFor(now.mono-began.mono, now.mono-since.mono)
				return given{token: p.token, since: since, brief: true}, nil
			}
		case <-retry.C:
		case <-ctx.Done():
			l.stats.refused.Add(1)
			return won, fmt.Errorf("%w: waiting for %s: %w", ErrNotAcquired, shown(t.name), because(ctx))
		case <-l.done:
			return won, errClosing("acquire", t)
		case <-end:
			if _, lost := l.lines.state(t, known); failure == nil {
				failure = lost
			}
			if failure != nil {
				return won, fmt.Errorf("lock: acquire %s: after waiting for %v: %w", shown(t.name), c.wait, failure)
			}
			l.stats.refused.Add(1)
			return won, fmt.Errorf("%w: %s is still held by another after %v", ErrNotAcquired, shown(got.by), c.wait)
		}
		sent := l.clock()
		answered, err := l.ask(ctx, ls, true, max(sent.mono-began.mono, time.Microsecond))
		if err == nil {
			got = answered
		}
		switch {
		case err == nil && got.token > 0:
			l.stats.waitedFor(sent.mono-began.mono, got.age)
			return given{token: got.token, since: sent}, nil
		case err == nil:
			failure, known = nil, bearing{sent, got.now}
			retry.Reset(time.Hour)
		case ctx.Err() != nil: // the next turn says so
		case errors.Is(err, redstart.ErrUnavailable) || errors.Is(err, redstart.ErrIndeterminate):
			// An outage that ends within our patience is part of the wait. Asking again is no
			// second write: an id that was given the lock is told so.
			failure = err
			retry.Reset(retryMin + rand.N(retryMin))
		default:
			return won, fmt.Errorf("lock: acquire %s: %w", shown(t.name), err)
		}
	}
}

// bearing relates the server's clock to ours: it showed server µs at the moment ours or later.
type bearing struct {
	ours   instant
	server int64
}

// bearingsLast is how long after a bearing the server's clock and ours are taken to have run alike.
const bearingsLast = time.Minute

// since is the moment, by our clocks and no later than it was, when the lock was passed to us; and whether we hold it on the word
// of the message. That needs no question to the server: until the grant ends nobody else gets the lock, and the part of it
// that is the margin stays as it is. Half of the rest is for the renewal that confirms it. Not so if the message
// is of an earlier grant than the last refusal, or late:
//
//	server   refuses, 1 ─ passes to us ───── the grant lapses, passes to another ─ …
//	here     asks, 1 ───────────────────────────────────── the message arrives, counted from 1: over
func (l *Locker) since(c *terms, p passed, known bearing) (since instant, ok bool) {
	after := p.at - known.server
	if c.ahead(l.opt.MinReplicas) == 0 || p.token == 0 || p.token < p.at || after < 0 || after > bearingsLast.Microseconds() {
		return since, false
	}
	d, now := time.Duration(after)*time.Microsecond, l.clock()
	since = instant{min(known.ours.mono+d, now.mono), min(known.ours.wall+d, now.wall)}
	return since, now.mono-since.mono < grant/2 && now.wall-since.wall < grant/2
}

// mark is a target's place in busy.
func (l *Locker) mark(t *target) uint8 { return uint8(maphash.String(l.seed, t.state[0])) }

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
