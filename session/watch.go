package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/hub"
)

const (
	// watchInterval bounds the time for which the end of a session is not noticed if its push is
	// lost.
	watchInterval = time.Minute
	// watchRetryDelay is the delay after a check without a reply.
	watchRetryDelay = time.Second
	minWatchDelay   = 20 * time.Millisecond
)

// Watch returns a context for a handler that runs longer than the check of its request, for example
// a WebSocket or an event stream. The context ends with cause [ErrEnded] when the session ends: at
// once by Revoke, RevokeUser, Destroy or Login, or by expiry. It also ends when ctx ends. Call
// cancel when the handler returns.
//
// Watch does not count as a use of the session, which expires like any other. While the server does
// not answer, the context stays valid, at most until the Lifetime of the session ends.
//
// Two round trips, then one per minute. All watchers of a process share one connection per node.
//
// Errors: ErrNotFound for a visitor and for a session that has ended; the classes of package
// redstart.
func (s *Session[T]) Watch(ctx context.Context) (watched context.Context, cancel context.CancelFunc, err error) {
	if s.m == nil {
		return nil, nil, ErrNoMiddleware
	}
	if err := s.writable(); err != nil {
		return nil, nil, s.m.records.failed("watch", err)
	}
	rec, err := s.current(ctx)
	if err == nil && rec == nil {
		err = ErrNotFound
	}
	if err == nil {
		watched, cancel, err = s.m.records.watch(ctx, rec.at)
	}
	if err != nil {
		return nil, nil, s.m.records.failed("watch", err)
	}
	return watched, cancel, nil
}

func (rs *records) watch(ctx context.Context, at address) (context.Context, context.CancelFunc, error) {
	sessionEnded, recheck := make(chan struct{}, 1), make(chan struct{}, 1)
	subscribing, stop := context.WithTimeout(ctx, rs.core.Timeout())
	defer stop()
	subscription, err := rs.core.Hub().Subscribe(subscribing, rs.channel(at.tag), hub.Receiver{
		Message: func(ids string) {
			if containsID(ids, at.id) {
				notify(sessionEnded)
			}
		},
		Restored: func() { notify(recheck) }, // pushes during the disconnection were lost
	})
	if err != nil {
		if ctx.Err() == nil {
			//nolint:errorlint // the timeout of subscribing is not the error of the caller's context
			err = fault.New(fault.ErrUnavailable, fmt.Errorf("subscribe to the end of the session: %v", err), "retry")
		}
		return nil, nil, err
	}
	// Read after Subscribe: an end before the read is found here, a later end is pushed.
	rec, err := rs.read(ctx, at)
	if err != nil {
		subscription.Close()
		return nil, nil, err
	}

	watched, cancel := context.WithCancelCause(ctx)
	rs.count.watched.Add(1)
	started := rs.core.Group().Go("watch over a session", func(closing context.Context) {
		defer rs.count.watched.Add(-1)
		defer subscription.Close()
		cancel(rs.awaitEnd(watched, closing, rec, sessionEnded, recheck))
	})
	if !started {
		rs.count.watched.Add(-1)
		subscription.Close()
		cancel(nil)
		return nil, nil, fault.New(fault.ErrUnavailable, hub.ErrClosed, "")
	}
	return watched, func() { cancel(nil) }, nil
}

// awaitEnd waits for the end of a session and returns the cause of its end.
func (rs *records) awaitEnd(ctx, closing context.Context, rec *record, sessionEnded, recheck <-chan struct{}) error {
	timer := rs.core.Time().NewTimer(rs.nextCheck(rec))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-closing.Done():
			return context.Cause(closing)
		case <-sessionEnded:
			return ErrEnded
		case <-recheck:
		case <-timer.C:
		}
		switch fresh, err := rs.read(ctx, rec.at); {
		case errors.Is(err, ErrNotFound):
			return ErrEnded
		case err != nil && rec.deadline > 0 && rs.clock() >= rec.deadline:
			return ErrEnded // the Lifetime is over
		case err != nil:
			timer.Reset(min(watchRetryDelay, rs.nextCheck(rec)))
		default:
			rec = fresh
			timer.Reset(rs.nextCheck(rec))
		}
	}
}

// nextCheck returns the delay until the next check of a record: until its expiry, at most
// watchInterval, so that an end without a push is noticed.
func (rs *records) nextCheck(rec *record) time.Duration {
	left := time.Duration(rec.until()-rs.clock())*time.Millisecond + minWatchDelay
	return max(minWatchDelay, min(left, watchInterval))
}

// containsID reports whether a message, which is ids of 16 bytes each, contains id.
func containsID(ids, id string) bool {
	for len(ids) >= idLen {
		if ids[:idLen] == id {
			return true
		}
		ids = ids[idLen:]
	}
	return false
}

func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
