package lock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redstart-go/redstart"
)

// given is what the server gave to an acquisition.
type grant struct {
	token       int64
	start       instant // from when the lease counts, or before
	provisional bool    // the lease is no longer than a grant, until a renewal
}

// answer of an acquire script.
type answer struct {
	token      int64         // > 0: it is ours
	freeIn     time.Duration // else: when the lock may be free
	handoffAge time.Duration // how long ago it was passed to us, if it was
	serverNow  int64         // else: the server's clock, µs
	busyName   string        // else: the name that is held
}

// try asks once.
func (l *Locker) try(ctx context.Context, ls *lease) (grant, error) {
	name := ls.target.name
	if ctx.Err() != nil {
		return grant{}, fmt.Errorf("lock: try %s: %w", quoted(name), contextError(ctx))
	}
	sent := l.clock()
	got, settled, err := l.fastAcquire(ctx, ls)
	if err == nil && !settled {
		sent = l.clock()
		got, err = l.fullAcquire(ctx, ls, false, 0)
	}
	if err != nil {
		l.releaseIfUncertain(err, ls)
		return grant{}, fmt.Errorf("lock: try %s: %w", quoted(name), err)
	}
	if got.token == 0 {
		l.stats.refused.Add(1)
		return grant{}, fmt.Errorf("%w: %s is held by another", ErrNotAcquired, quoted(got.busyName))
	}
	return grant{token: got.token, start: sent}, nil
}

// take asks with the short script, which knows the answer unless another caller waits or a lease has ended.
func (l *Locker) fastAcquire(ctx context.Context, ls *lease) (got answer, settled bool, err error) {
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

// ask asks with the script that knows all cases.
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
			return answer{}, fmt.Errorf("%w: a script answered %d", redstart.ErrCorrupt, n)
		}
		return answer{token: n}, nil
	}

	n, err := msg.AsIntSlice()
	if err != nil || len(n) < 2 {
		return answer{}, fmt.Errorf("%w: a script answered %d numbers", redstart.ErrCorrupt, len(n))
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

// doubt has an id freed unless it is certain that the server knows nothing of it.
func (l *Locker) releaseIfUncertain(err error, ls *lease) {
	if errors.Is(err, redstart.ErrUnavailable) || errors.Is(err, redstart.ErrDenied) || errors.Is(err, redstart.ErrFull) {
		return // not executed
	}
	l.unconfirmed.add(ls)
}

// own makes a Lock held, with what the server gave.
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
		// Not ErrLost: the caller never had the lock.
		return nil, fmt.Errorf("lock: acquire %s: %w: the answer came when the lease of %v was over: raise the TTL", quoted(name), redstart.ErrUnavailable, ls.settings.ttl)
	}
	if l.closed.Load() {
		ls.lose(errClosed)
		return nil, errClosing("acquire", ls.target)
	}
	return h, nil
}

// lost is called once for each lease that was lost, after its context has ended.
func (l *Locker) lost(ls *lease, why error) {
	l.renewer.remove(ls)
	l.stats.lost.Add(1)
	l.stats.held(l.clock().mono - ls.start.mono)
	if why == errMaxHold {
		return // its holder is notified, and has the rest of the lease to end; then Release frees it, or it lapses
	}
	if why != errGone || ls.target.parts != nil {
		// Of several names one may be gone and the others still ours.
		l.unconfirmed.add(ls)
	}
	l.lossLog.add(ls, why)
}
