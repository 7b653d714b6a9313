package lock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redstart-go/redstart"
)

// grant is what the server granted to an acquisition.
type grant struct {
	token       int64
	start       instant       // at or before the start of the lease
	provisional bool          // the lease is grantTTL long until the first renewal
	waited      time.Duration // time in the queue; also set if the wait failed
}

// answer is the answer of an acquire script. With a token of 0, the lock is held by another owner.
type answer struct {
	token      int64         // above 0: acquired
	freeIn     time.Duration // not acquired: when the lock may be free
	handoffAge time.Duration // acquired: time since the lock was handed to the waiter, if it was
	serverNow  int64         // not acquired: the server's clock, µs
	busyName   string        // not acquired: the name that another owner holds
}

// try asks the server once.
func (l *Locker) try(ctx context.Context, ls *lease) (grant, error) {
	name := ls.target.name
	if ctx.Err() != nil {
		return grant{}, fmt.Errorf("lock: try %s: %w", quoted(name), contextError(ctx))
	}

	sent := l.clock()
	got, decided, err := l.fastAcquire(ctx, ls)
	if err == nil && !decided {
		sent = l.clock()
		got, err = l.fullAcquire(ctx, ls, false, 0)
	}

	if err != nil {
		l.releaseIfUncertain(err, ls)
		return grant{}, fmt.Errorf("lock: try %s: %w", quoted(name), err)
	}

	if got.token == 0 {
		l.stats.refused.Add(1)
		return grant{}, fmt.Errorf("%w: %s is held by another holder", ErrNotAcquired, quoted(got.busyName))
	}

	return grant{token: got.token, start: sent}, nil
}

// fastAcquire runs the short script. It decides unless the lock has waiters or its lease has ended.
func (l *Locker) fastAcquire(ctx context.Context, ls *lease) (got answer, decided bool, err error) {
	t := ls.target
	if t.kind != kindMutex {
		return answer{}, false, nil
	}

	msg, err := l.core.Eval(ctx, fastAcquireScript, t.state[:], ls.fastArgs[:])
	if err != nil {
		return answer{}, false, err
	}

	n, err := msg.AsInt64()
	switch {
	case err != nil:
		return answer{}, false, fmt.Errorf("%w: %w", redstart.ErrCorrupt, err)
	case n > 0:
		return answer{token: n}, true, nil
	}

	return answer{freeIn: time.Duration(-n) * time.Millisecond, busyName: t.name}, n < 0, nil
}

// fullAcquire runs the script that covers all cases.
func (l *Locker) fullAcquire(ctx context.Context, ls *lease, queued bool, waited time.Duration) (answer, error) {
	t := ls.target
	msg, err := l.core.Eval(ctx, t.scripts.acquire, l.keys(t), l.acquireArgs(ctx, ls, queued, waited.Microseconds()))
	if err != nil {
		return answer{}, err
	}

	if !msg.IsArray() {
		n, err := msg.AsInt64()
		switch {
		case err != nil:
			return answer{}, fmt.Errorf("%w: %w", redstart.ErrCorrupt, err)
		case n <= 0:
			return answer{}, fmt.Errorf("%w: the script answered %d", redstart.ErrCorrupt, n)
		}
		return answer{token: n}, nil
	}

	n, err := msg.AsIntSlice()
	if err != nil || len(n) < 2 {
		return answer{}, fmt.Errorf("%w: the script answered %d numbers", redstart.ErrCorrupt, len(n))
	}

	if n[0] > 0 {
		return answer{token: n[0], handoffAge: time.Duration(n[1]) * time.Microsecond}, nil
	}

	got := answer{freeIn: time.Duration(-n[0]) * time.Millisecond, serverNow: n[1], busyName: t.name}
	if len(n) == 3 && n[2] >= 1 && n[2] <= int64(len(t.parts)) {
		got.busyName = t.parts[n[2]-1].name
	}

	return got, nil
}

// releaseIfUncertain releases in the background what a failed call may have acquired.
func (l *Locker) releaseIfUncertain(err error, ls *lease) {
	if errors.Is(err, redstart.ErrUnavailable) || errors.Is(err, redstart.ErrDenied) || errors.Is(err, redstart.ErrFull) {
		return // the server did not execute the script
	}
	l.unconfirmed.add(ls)
}

// hold turns a grant into a held Lock.
func (l *Locker) hold(ctx context.Context, h *Lock, won grant) (*Lock, error) {
	ls := &h.lease
	name := ls.target.name
	ls.token, ls.start, ls.node = won.token, won.start, l.node(ls.target)
	if l.opt.MinReplicas > 0 {
		if err := l.replicate(ctx, ls); err != nil {
			l.unconfirmed.add(ls)
			return nil, fmt.Errorf("lock: acquire %s: %w", quoted(name), err)
		}
	}

	h.caller = ctx
	l.renewer.add(ls, won.start, won.provisional, l.opt.MaxHold)
	l.stats.acquired.Add(1)

	if errors.Is(ls.err(), ErrLost) {
		// This is not ErrLost, because the caller never had the lock.
		return nil, fmt.Errorf("lock: acquire %s: %w: the answer came when the lease of %v was over: raise the TTL", quoted(name),
			redstart.ErrUnavailable, ls.settings.ttl)
	}

	if l.closed.Load() {
		ls.lose(errClosed)
		return nil, errClosing("acquire", ls.target)
	}

	return h, nil
}

// lost is called once for each lost lease, after its context has ended.
func (l *Locker) lost(ls *lease, why error) {
	l.renewer.remove(ls)
	l.stats.lost.Add(1)
	l.stats.held(l.clock().mono - ls.start.mono)
	if why == errMaxHold {
		// the holder may use the rest of the lease to stop; then Release frees the lock, or the
		// lease ends
		return
	}

	if why != errGone || ls.target.parts != nil {
		// One name of an All may be gone while this process still owns the others.
		l.unconfirmed.add(ls)
	}

	l.lossLog.add(ls, why)
}
