package lock

import (
	"context"
	"errors"
	"time"

	"github.com/redstart-go/redstart"
)

// Campaign stands for leader of name until it has led once to the end: it waits, however long, until it holds the lock
// of that name, calls lead, and releases. When lead returns because leadership was lost, it stands again; when lead
// returns on its own account, Campaign returns lead's error. When ctx ends, Campaign returns ctx's error, after
// lead has returned. Outages of the server are waited out.
//
// Lead's context derives from ctx and ends when leadership is lost. Held.Token is the term: greater than every
// earlier leader's, so that what an old leader still sends can be refused.
func (l *Locker) Campaign(ctx context.Context, name string, lead func(ctx context.Context, held *Lock) error) error {
	t, err := l.target(alone, name, 0)
	if err != nil {
		return err
	}
	for wait := retryMin; ; {
		id := l.newID(alone)
		won, err := l.enter(ctx, t, id, WaitForever)
		var held *Lock
		if err == nil {
			held, err = l.own(ctx, id, won, t)
		}
		switch {
		case err == nil:
			wait = retryMin
			err = held.do(ctx, lead)
			if ctx.Err() != nil {
				return errors.Join(err, because(ctx))
			}
			if !errors.Is(err, ErrLost) {
				return err
			}
			continue
		case ctx.Err() != nil:
			return err
		case l.closed.Load() || !transient(err):
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		wait = min(2*wait, poll)
	}
}

// transient reports whether an error may go away by itself.
func transient(err error) bool {
	for _, class := range []error{redstart.ErrUnavailable, redstart.ErrIndeterminate, ErrLost, ErrNotReplicated} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}
