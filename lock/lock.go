package lock

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/core"
)

// Lock is something held: a lock, a permit, a side of a read-write lock, or several locks. It is renewed until
// Release. Its methods are safe for concurrent use.
type Lock struct {
	locker *Locker
	lease  *lease
	ctx    context.Context
	done   atomic.Bool // Release was called
}

// Context has the values of the context that Acquire was called with, not its deadline or cancellation. It ends
// when the lock does: with cause ErrLost before the lease can lapse on the server (K3), or when Release begins. Work that
// must also end with the caller's own context takes both, as Do does.
//
// After a pause of the whole process (a stopped container, a suspended machine) Err gives the true answer at once, even
// if nothing else had time to run.
func (h *Lock) Context() context.Context { return h.ctx }

// Token is the fencing token: for each name greater than that of every earlier holder (K2), also after the key was
// lost, as long as the server's clock did not step back further than the time since. Send it along with
// every write that the lock protects, and have the receiver refuse smaller ones: see FencedExec and FencedSet.
func (h *Lock) Token() int64 { return h.lease.token }

// Name is what was acquired; the first name, if several were.
func (h *Lock) Name() string { return h.lease.targets[0].name }

// Release gives the lock back, or on to the first who waits: one round trip. Context ends before the request leaves.
//
// It returns ErrLost if the lock was no longer ours: the protected work may have overlapped with another's. A second call
// is nil. If ctx ends first, or the server does not answer, Release returns that error and the lock is freed in the
// background, as soon as the server answers (K4).
func (h *Lock) Release(ctx context.Context) error {
	if h.done.Swap(true) {
		return nil
	}
	l, ls := h.locker, h.lease
	ls.check()
	if !ls.end(released, errReleased) {
		if errors.Is(context.Cause(h.ctx), errMaxHold) {
			l.orphans.free(ls.id, ls.token, ls.targets...)
		}
		return fmt.Errorf("lock: release %s: %w", shown(h.Name()), context.Cause(h.ctx))
	}
	l.keeper.remove(ls)
	l.stats.held(l.clock().mono - ls.begun.mono)
	err := l.release(ctx, ls)
	if err == nil {
		return nil
	}
	if errors.Is(err, ErrLost) {
		l.stats.lost.Add(1)
		return fmt.Errorf("lock: release %s: %w", shown(h.Name()), err)
	}
	l.orphans.free(ls.id, ls.token, ls.targets...)
	return fmt.Errorf("lock: release %s: %w; it will be freed in the background", shown(h.Name()), err)
}

// release asks the server, twice if the first answer was lost: an id frees only what is its own, so
// asking again does no harm, and the server remembers.
func (l *Locker) release(ctx context.Context, ls *lease) error {
	err := l.releaseOnce(ctx, ls, false)
	if errors.Is(err, redstart.ErrIndeterminate) && ctx.Err() == nil {
		err = l.releaseOnce(ctx, ls, true)
	}
	return err
}

func (l *Locker) releaseOnce(ctx context.Context, ls *lease, again bool) error {
	if len(ls.targets) == 1 {
		t := ls.targets[0]
		if t.kind == alone && !l.busy[l.mark(t)].Load() {
			msg, err := l.core.Eval(ctx, giveScript, []string{t.state}, []string{ls.id})
			if err != nil {
				return err
			}
			if n, err := msg.AsInt64(); err == nil && n == 1 {
				return nil
			}
		}
		call := l.releaseCall(t, ls.id, ls.token)
		msg, err := l.core.Eval(ctx, t.family.release, call.Keys, call.Args)
		if err != nil {
			return err
		}
		return l.released(msg.AsInt64())(ls, again)
	}
	calls := make([]core.Call, len(ls.targets))
	for i, t := range ls.targets {
		calls[i] = l.releaseCall(t, ls.id, ls.token)
	}
	var first error
	for _, r := range l.core.EvalMulti(ctx, ls.targets[0].family.release, calls) {
		msg, err := r.Get()
		if err == nil {
			err = l.released(msg.AsInt64())(ls, again)
		}
		if first == nil || errors.Is(first, ErrLost) && err != nil {
			first = err
		}
	}
	return first
}

// released reads the answer of a release script.
func (l *Locker) released(n int64, err error) func(ls *lease, again bool) error {
	return func(ls *lease, again bool) error {
		switch {
		case err != nil:
			return fmt.Errorf("%w: %w", redstart.ErrCorrupt, err)
		case n == 1:
			return nil
		case again && n == 2:
			return nil // by the request whose answer was lost
		case again && ls.targets[0].family == &shared && !ls.expired(l.clock()):
			return nil // the lease still lasts, so it was that request
		}
		return errGone
	}
}

// do is Do once the lock is held.
func (h *Lock) do(ctx context.Context, fn func(ctx context.Context, held *Lock) error) (err error) {
	inner, cancel := h.lease.context(ctx)
	defer func() {
		cancel()
		switch e := h.Release(context.WithoutCancel(ctx)); {
		case errors.Is(e, ErrLost):
			err = errors.Join(err, e)
		case e != nil:
			h.locker.core.Logger().Warn("redstart: "+e.Error(), "locker", h.locker.opt.Name)
		}
	}()
	return fn(inner, h)
}
