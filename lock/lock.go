package lock

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// Lock is something held: a lock, a permit, a side of a read-write lock, or several locks. It is renewed until
// Release. Its methods are safe for concurrent use.
//
// It is one allocation with all that an acquisition needs. Its context is made when it is asked for.
type Lock struct {
	locker *Locker
	lease  lease
	plain  target          // what the lease is of, unless that is a Resource's target
	caller context.Context // of Acquire
	done   atomic.Bool     // Release was called

	once sync.Once
	ctx  context.Context // of Context
}

// Context has the values of the context that Acquire was called with, not its deadline or cancellation. It ends
// when the lock does: with cause ErrLost before the lease can lapse on the server (K3), or when Release begins. Work that
// must also end with the caller's own context takes both, as Do does.
//
// After a pause of the whole process (a stopped container, a suspended machine) its Err gives the true answer at once, even
// if nothing else had time to run. A context derived from it, by context.WithTimeout or a library, does not: its Err is nil
// until the goroutine that renews has run, which is microseconds to milliseconds later. Ask [Lock.Err] before a step that
// must not come late.
func (h *Lock) Context() context.Context {
	h.once.Do(func() { h.ctx, _ = h.lease.context(context.WithoutCancel(h.caller)) })
	return h.ctx
}

// Err is nil while the lock is held as far as the clock can tell, an ErrLost with its reason once it was lost, and an
// error that is not ErrLost after Release. It looks at the clock and sends nothing: it is right at the first instruction after
// a pause of the process. It costs no round trip.
func (h *Lock) Err() error { return h.lease.err() }

// Token is the fencing token: for each name greater than that of every earlier holder (K2), also after the key was
// lost, as long as the server's clock did not step back further than the time since. Send it along with
// every write that the lock protects, and have the receiver refuse smaller ones: see FencedExec and FencedSet.
func (h *Lock) Token() int64 { return h.lease.token }

// Name is what was acquired; the first name, if several were.
func (h *Lock) Name() string { return h.lease.target.name }

// Release gives the lock back, or on to the first who waits: one round trip. Context ends before the request leaves.
//
// It returns ErrLost if the lock was no longer ours: the protected work may have overlapped with another's. A second call
// is nil. If ctx ends first, or the server does not answer, Release returns that error and the lock is freed in the
// background, as soon as the server answers (K4).
func (h *Lock) Release(ctx context.Context) error {
	if h.done.Swap(true) {
		return nil
	}
	l, ls := h.locker, &h.lease
	if !l.calls.enter() { // Close releases it
		return fmt.Errorf("lock: release %s: %w", quoted(h.Name()), cmp.Or(ls.err(), errClosed))
	}
	defer l.calls.leave()

	ls.check()
	if !ls.end(errReleased) {
		if errors.Is(ls.err(), errMaxHold) {
			l.unconfirmed.add(ls)
		}
		return fmt.Errorf("lock: release %s: %w", quoted(h.Name()), ls.err())
	}
	l.renewer.remove(ls)
	l.stats.held(l.clock().mono - ls.start.mono)
	err := l.release(ctx, ls)
	if err == nil {
		return nil
	}
	if errors.Is(err, ErrLost) {
		l.stats.lost.Add(1)
		return fmt.Errorf("lock: release %s: %w", quoted(h.Name()), err)
	}
	l.unconfirmed.add(ls)
	return fmt.Errorf("lock: release %s: %w; it will be freed in the background", quoted(h.Name()), err)
}

// do runs fn while the lock is held. Lost says that the lock was lost before fn returned.
func (h *Lock) do(ctx context.Context, fn func(ctx context.Context, held *Lock) error) (wasLost bool, err error) {
	inner, cancel := h.lease.context(ctx)
	defer func() {
		wasLost = errors.Is(h.lease.err(), ErrLost)
		cancel()
		switch e := h.Release(context.WithoutCancel(ctx)); {
		case errors.Is(e, ErrLost):
			err = errors.Join(err, e)
		case e != nil:
			h.locker.core.Logger().Warn("redstart: a lock was not released in time", "locker", h.locker.opt.Name, "lock", h.Name(), "error", e)
		}
	}()
	return false, fn(inner, h)
}
