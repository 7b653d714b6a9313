package lock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/core"
)

// The answers of a release script.
const (
	heldNothing    = 0
	releasedLock   = 1
	releasedBefore = 2
	leftQueue      = 3
	// added to an answer: a waiter was not notified, because a right is missing
	waiterNotNotified = 10
)

// fastReleaseWithin is how long a mutex may be held so that its release first tries the script for
// a mutex without waiters. Another caller may have queued while the mutex was held for longer. The
// script for all cases then saves the waiter a round trip.
const fastReleaseWithin = time.Millisecond

// release releases a lease on the server. If the first answer is lost, it asks again. This is safe:
// an id releases only what it owns, and the server remembers a release.
func (l *Locker) release(ctx context.Context, ls *lease) error {
	err := l.releaseOnce(ctx, ls, false)
	if errors.Is(err, redstart.ErrIndeterminate) && ctx.Err() == nil {
		err = l.releaseOnce(ctx, ls, true)
	}
	return err
}

func (l *Locker) releaseOnce(ctx context.Context, ls *lease, again bool) error {
	t := ls.target
	held := l.clock().mono - ls.start.mono
	if t.kind == kindMutex && held < fastReleaseWithin && !l.recentlyBusy[l.busyIndex(t)].Load() {
		msg, err := l.core.Eval(ctx, fastReleaseScript, t.state[:], ls.fastArgs[:1])
		if err != nil {
			return err
		}
		if n, err := msg.AsInt64(); err == nil && n == releasedLock {
			return nil
		}
	}

	if t.parts == nil {
		call := l.releaseCall(t, ls.id, ls.token)
		msg, err := l.core.Eval(ctx, t.scripts.release, call.Keys, call.Args)
		if err != nil {
			return err
		}
		answer, err := l.released(msg.AsInt64())
		return l.releaseResult(ls, answer, err, again)
	}

	calls := make([]core.Call, len(t.parts))
	for i, part := range t.parts {
		calls[i] = l.releaseCall(part, ls.id, ls.token)
	}

	var worst error // an error of the server takes precedence over a loss
	for _, r := range l.core.EvalMulti(ctx, t.scripts.release, calls) {
		msg, err := r.Get()
		if err == nil {
			var answer int64
			answer, err = l.released(msg.AsInt64())
			err = l.releaseResult(ls, answer, err, again)
		}
		if worst == nil || errors.Is(worst, ErrLost) && err != nil {
			worst = err
		}
	}

	return worst
}

// released parses the answer of a release script, and logs a missing right once.
func (l *Locker) released(n int64, err error) (answer int64, _ error) {
	if err != nil {
		return 0, fmt.Errorf("%w: %w", redstart.ErrCorrupt, err)
	}
	if n >= waiterNotNotified {
		l.reportPublishDenied()
		n -= waiterNotNotified
	}
	return n, nil
}

// releaseResult returns the error that an answer means for the caller of Release.
func (l *Locker) releaseResult(ls *lease, answer int64, err error, again bool) error {
	switch {
	case err != nil:
		return err
	case answer == releasedLock:
		return nil
	case again && answer == releasedBefore:
		return nil // the request whose answer was lost released the lock
	case again && ls.target.scripts == &sharedScripts && !ls.expired(l.clock()):
		return nil // the lease is still valid, so the first request released it
	}
	return errGone
}
