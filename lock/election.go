package lock

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart"
)

// ErrResigned is the cause of the end of a leader's context after Resign, and what Campaign returns then.
var ErrResigned = errors.New("lock: resigned")

// Election has one leader at a time among the processes that campaign for its name. The leader holds the plain lock of
// that name, with the same guarantees: the token is the term. Its methods are safe for concurrent use.
type Election struct {
	locker *Locker
	target *target
	term   atomic.Pointer[term] // of this process
}

// term is one leadership of this process.
type term struct {
	resign context.CancelCauseFunc
	ended  chan struct{} // closed once the lock was released
}

// Leader is the process that leads.
type Leader struct {
	Process   string        // its Options.Process
	Term      int64         // the fencing token of its leadership
	Remaining time.Duration // of its lease, which it renews
}

const (
	campaignPauseMin = 50 * time.Millisecond // before standing again after a lost term or a failure; doubled up to
	campaignPauseMax = 5 * time.Second       // this, and reset by a term of that length
)

// Election returns the election of that name. Its error says what is wrong with the name.
func (l *Locker) Election(name string) (*Election, error) {
	t, err := l.target(kindMutex, name, 0)
	if err != nil {
		return nil, err
	}
	return &Election{locker: l, target: &t}, nil
}

// Campaign stands for leader until it has led once to the end: it waits, however long, until it is elected, calls lead,
// and releases. Lead's context derives from ctx and ends when leadership is lost (cause ErrLost) or resigned (cause
// ErrResigned). Held.Token is the term: greater than every earlier leader's, so that what an old leader still sends
// can be refused.
//
// What ends a campaign:
//
//   - Lead returns while it leads: Campaign returns lead's error, whatever it is. If the release then finds
//     leadership gone, the error is joined with ErrLost; lead is not called again.
//   - Leadership was lost before lead returned: Campaign logs lead's error, if it has one of its own, and stands again
//     after a pause, from 50 ms doubled up to 5 s while terms stay short.
//   - Resign: Campaign returns lead's error joined with ErrResigned.
//   - Ctx ends: Campaign returns ctx's error, after lead has returned, joined with lead's.
//   - An error of the server that may go away is waited out; Campaign returns any other.
func (e *Election) Campaign(ctx context.Context, lead func(ctx context.Context, held *Lock) error) error {
	l := e.locker
	c := *l.defaults
	c.wait = WaitForever
	pause := campaignPauseMin
	for {
		held, err := e.waitForTerm(ctx, &c)
		switch {
		case err == nil:
			began := time.Now()
			again, err := e.lead(ctx, held, lead)
			if !again {
				return err
			}
			if time.Since(began) >= campaignPauseMax {
				pause = campaignPauseMin
			}
		case ctx.Err() != nil || l.closed.Load() || !transient(err):
			return err
		}

		timer := time.NewTimer(pause/2 + rand.N(pause/2))
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("lock: campaign for %s: %w", quoted(e.target.name), contextError(ctx))
		case <-timer.C:
		}
		pause = min(2*pause, campaignPauseMax)
	}
}

// stand waits until this process is elected. Close waits for its end, so that what it leaves behind is released.
func (e *Election) waitForTerm(ctx context.Context, c *callSettings) (*Lock, error) {
	l := e.locker
	if !l.calls.enter() {
		return nil, errClosing("campaign", e.target)
	}
	defer l.calls.leave()

	held := &Lock{locker: l}
	held.lease.init(l, e.target, c)
	won, err := l.acquireTarget(ctx, &held.lease)
	if err != nil {
		return nil, err
	}
	return l.hold(ctx, held, won)
}

// lead is one term. Again says that leadership was lost before lead returned.
func (e *Election) lead(ctx context.Context, held *Lock, lead func(ctx context.Context, held *Lock) error) (again bool, err error) {
	l := e.locker
	inner, resign := context.WithCancelCause(ctx)
	t := &term{resign: resign, ended: make(chan struct{})}
	e.term.Store(t)
	defer func() { // also when lead panics
		e.term.CompareAndSwap(t, nil)
		close(t.ended)
		resign(nil)
	}()

	var leadErr error // lead's
	wasLost, err := held.do(inner, func(ctx context.Context, held *Lock) error {
		leadErr = lead(ctx, held)
		return leadErr
	})
	switch {
	case ctx.Err() != nil:
		return false, errors.Join(leadErr, contextError(ctx))
	case context.Cause(inner) == ErrResigned:
		return false, errors.Join(leadErr, ErrResigned)
	case !wasLost:
		return false, err
	}
	if leadErr != nil && !errors.Is(leadErr, ErrLost) && !errors.Is(leadErr, context.Canceled) {
		l.core.Logger().Warn("redstart: a leader failed and had lost its leadership; it stands again", "locker", l.opt.Name, "election", e.target.name, "error", leadErr)
	}
	return true, nil
}

// Resign ends this process' leadership: lead's context ends with cause ErrResigned, and Resign returns once lead has
// returned and leadership was released, or with ctx's error. The next candidate is elected then. If this process does
// not lead, Resign does nothing. It costs no round trip of its own.
func (e *Election) Resign(ctx context.Context) error {
	t := e.term.Load()
	if t == nil {
		return nil
	}
	t.resign(ErrResigned)
	select {
	case <-t.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("lock: resign from %s: lead has not returned yet: %w", quoted(e.target.name), contextError(ctx))
	}
}

// Leader returns who leads, as the server knows it, and whether anyone does: one round trip. The answer may be out of
// date when it arrives; to act as the leader, use lead's context and the term.
func (e *Election) Leader(ctx context.Context) (leader Leader, ok bool, err error) {
	info, err := e.locker.inspect(ctx, e.target)
	if err != nil || len(info.Holders) == 0 {
		return Leader{}, false, err
	}
	h := info.Holders[0]
	return Leader{Process: h.Process, Term: h.Token, Remaining: h.Remaining}, true, nil
}

// transient reports whether an error may go away.
func transient(err error) bool {
	for _, class := range []error{redstart.ErrUnavailable, redstart.ErrIndeterminate, redstart.ErrFull, ErrNotReplicated} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}
