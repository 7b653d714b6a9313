package lock

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/redstart-go/redstart/observe"
)

// Lock is one hold: of a plain lock, permits of a semaphore, a side of a read-write lock, or
// several plain locks. It is renewed until [Lock.Release]. Its methods are safe for concurrent use.
//
// Lock is one allocation with all data of the acquisition. Context creates the context at its first
// call.
type Lock struct {
	locker *Locker
	lease  lease
	plain  target          // the target of the lease, unless a Resource has it
	caller context.Context // the context that Acquire was called with
	done   atomic.Bool     // Release was called

	once sync.Once
	ctx  context.Context // set by Context
}

// Context returns a context that ends with the lock. If the lock is lost, the context ends with
// cause [ErrLost], before the lease can end on the server (K3). It also ends when Release begins.
// It has the values of the context that Acquire was called with, and neither its deadline nor its
// cancellation. Do derives a context that ends with both.
//
// After a pause of the whole process (a stopped container, a suspended machine), the context's Err
// returns the right answer immediately. The Err of a context that derives from it is nil for up to
// a few milliseconds, until the renewing goroutine has run. Call [Lock.Err] before a step that must
// not run late.
func (h *Lock) Context() context.Context {
	h.once.Do(func() { h.ctx, _ = h.lease.context(context.WithoutCancel(h.caller)) })
	return h.ctx
}

// Err returns nil while the lock is held, [ErrLost] with the reason after the lock was lost, and
// another error after Release. It compares the lease with the clock and sends nothing. It is right
// immediately after a pause of the process.
func (h *Lock) Err() error { return h.lease.err() }

// Token returns the fencing token. It is greater than the tokens of all earlier holders of the name
// (K2). This also holds after the key was lost, unless the server's clock stepped back by more than
// the time since the earlier grant. Send the token with each write that the lock protects, and let
// the receiver refuse smaller tokens: see [FencedExec] and [Locker.FencedSet].
func (h *Lock) Token() int64 { return h.lease.token }

// Name returns the name that was acquired. For All, it is the first name.
func (h *Lock) Name() string { return h.lease.target.name }

// Release releases the lock, or hands it to the first waiter. It takes one round trip; for a lock
// with waiters that was held for less than 1 ms, it may take two. The lock's context ends before
// the request is sent.
//
// Release returns [ErrLost] if this process did not own the lock any more: the protected work may
// have overlapped with the work of another holder. A second call returns nil. If ctx ends first, or
// the server does not answer, Release returns that error, and the Locker releases the lock in the
// background (K4).
func (h *Lock) Release(ctx context.Context) error {
	if h.done.Swap(true) {
		return nil
	}

	l, ls := h.locker, &h.lease
	if !l.calls.enter() { // the client is closed, and Close releases the lock
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
	hold := l.clock().mono - ls.start.mono
	l.stats.held(hold)
	err := l.release(ctx, ls)
	l.core.Record(ctx, l.operation("release"), observe.Hold, hold)
	if err == nil {
		return nil
	}

	if errors.Is(err, ErrLost) {
		l.stats.lost.Add(1)
		return fmt.Errorf("lock: release %s: %w", quoted(h.Name()), err)
	}

	l.unconfirmed.add(ls)
	return fmt.Errorf("lock: release %s: %w: the lock is released in the background", quoted(h.Name()), err)
}

// do runs fn while the lock is held, and releases it. wasLost reports that the lock was lost before
// fn returned.
func (h *Lock) do(ctx context.Context, fn func(ctx context.Context, held *Lock) error) (wasLost bool, err error) {
	inner, cancel := h.lease.context(ctx)
	defer func() {
		wasLost = errors.Is(h.lease.err(), ErrLost)
		cancel()
		switch e := h.Release(context.WithoutCancel(ctx)); {
		case errors.Is(e, ErrLost):
			err = errors.Join(err, e)
		case e != nil:
			h.locker.core.Logger().Warn("redstart: a lock was not released in time", "locker",
				h.locker.opt.Name, "lock", h.Name(), "error", e)
		}
	}()
	return false, fn(inner, h)
}
