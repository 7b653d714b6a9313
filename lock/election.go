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

// ErrResigned reports that [Election.Resign] ended a term. It is the cause of the end of the
// leader's context, and Campaign returns it.
var ErrResigned = errors.New("lock: resigned")

// Election elects one leader among the processes that campaign for its name. The leader holds the
// plain lock of that name, with the guarantees of a lock. The lock's token is the term. Use
// [Locker.Election]. Its methods are safe for concurrent use.
type Election struct {
	locker *Locker
	target *target
	term   atomic.Pointer[term] // the term that this process leads; nil if it does not lead
}

// term is one leadership of this process.
type term struct {
	resign context.CancelCauseFunc
	ended  chan struct{} // closed after the lock was released
}

// Leader describes the process that leads.
type Leader struct {
	Process   string        // its [Options.Process]
	Term      int64         // fencing token of its lock
	Remaining time.Duration // rest of its lease, which it renews
}

const (
	// pause before the next attempt after a lost term or a failure; it doubles after each
	campaignPauseMin = 50 * time.Millisecond
	campaignPauseMax = 5 * time.Second // maximum pause; a term of this length resets the pause
)

// Election returns the election of a name. It returns an error if the name is too long.
func (l *Locker) Election(name string) (*Election, error) {
	t, err := l.target(kindMutex, name, 0)
	if err != nil {
		return nil, err
	}
	return &Election{locker: l, target: &t}, nil
}

// Campaign waits until this process is elected, calls lead, and releases the leadership. It returns
// after one complete term. The context of lead derives from ctx. It ends when leadership is lost
// (cause [ErrLost]) or resigned (cause [ErrResigned]). The token of held is the term: it is greater
// than the terms of all earlier leaders, so receivers can refuse writes of old leaders.
//
// Campaign ends in these cases:
//
//   - Lead returns while this process leads: Campaign returns lead's error. If the release then
//     finds that leadership was lost, the error is joined with ErrLost. Lead is not called again.
//   - Resign is called: Campaign returns lead's error joined with ErrResigned.
//   - Ctx ends: Campaign returns ctx's error joined with lead's error, after lead has returned.
//   - The server returns an error that is not temporary: Campaign returns the error.
//
// Campaign continues in these cases:
//
//   - Leadership is lost before lead returns: Campaign logs lead's error, if lead has its own, and
//     campaigns again after a pause. The pause is 50 ms and doubles up to 5 s. A term of 5 s resets
//     it.
//   - The server returns a temporary error: Campaign tries again after the same pause.
func (e *Election) Campaign(ctx context.Context, lead func(ctx context.Context, held *Lock) error) error {
	l := e.locker
	c := *l.defaults
	c.wait = WaitForever
	pause := campaignPauseMin
	for {
		held, err := e.waitForTerm(ctx, &c)
		switch {
		case err == nil:
			began := l.core.Time().Now()
			again, err := e.lead(ctx, held, lead)
			if !again {
				return err
			}
			if l.core.Time().Since(began) >= campaignPauseMax {
				pause = campaignPauseMin
			}
		case ctx.Err() != nil || l.closed.Load() || !transient(err):
			return err
		}

		timer := l.core.Time().NewTimer(pause/2 + rand.N(pause/2))
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("lock: campaign for %s: %w", quoted(e.target.name), contextError(ctx))
		case <-timer.C:
		}
		pause = min(2*pause, campaignPauseMax)
	}
}

// waitForTerm waits until this process is elected. Close waits for its end, so that Close releases
// what it leaves behind.
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

// lead runs one term. again reports that leadership was lost before lead returned.
func (e *Election) lead(ctx context.Context, held *Lock,
	lead func(ctx context.Context, held *Lock) error) (again bool, err error) {
	l := e.locker
	inner, resign := context.WithCancelCause(ctx)
	t := &term{resign: resign, ended: make(chan struct{})}
	e.term.Store(t)
	defer func() { // also if lead panics
		e.term.CompareAndSwap(t, nil)
		close(t.ended)
		resign(nil)
	}()

	var leadErr error // the error of lead
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
		l.core.Logger().Warn("redstart: lead failed after its leadership was lost; it campaigns again",
			"locker", l.opt.Name, "election", e.target.name, "error", leadErr)
	}
	return true, nil
}

// Resign ends the leadership of this process. Lead's context ends with cause [ErrResigned]. Resign
// returns after lead has returned and leadership was released, or with ctx's error. Then the next
// candidate is elected. If this process does not lead, Resign does nothing. It takes no round trip
// of its own.
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
		return fmt.Errorf("lock: resign from %s: lead has not returned: %w", quoted(e.target.name), contextError(ctx))
	}
}

// Leader returns the present leader, and whether there is one. It takes one round trip. The answer
// may be out of date when it arrives. To act as the leader, use the context and the term that lead
// received.
func (e *Election) Leader(ctx context.Context) (leader Leader, ok bool, err error) {
	info, err := e.locker.inspect(ctx, e.target)
	if err != nil || len(info.Holders) == 0 {
		return Leader{}, false, err
	}
	h := info.Holders[0]
	return Leader{Process: h.Process, Term: h.Token, Remaining: h.Remaining}, true, nil
}

// transient reports whether an error is temporary.
func transient(err error) bool {
	for _, class := range []error{redstart.ErrUnavailable, redstart.ErrIndeterminate, redstart.ErrFull, ErrNotReplicated} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}
