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
	// watchEvery is how long an end that was not told can go unnoticed: the server may drop a push.
	watchEvery = time.Minute
	// watchRetry is the pause after a look that got no answer.
	watchRetry = time.Second
	watchLeast = 20 * time.Millisecond
)

// Watch returns a context for a handler that outlives its request's check, a WebSocket or an event stream: it ends, with cause
// ErrRevoked, when the session ends by Revoke, RevokeUser, Destroy or Login, at once, or by expiry, and with ctx. Call cancel when the handler returns. A
// watched session is not in use by that: it expires like any other. While the server does not answer the
// context lives on, at most until the session's absolute limit.
//
// Two round trips, then one per minute. All watchers of a process share one connection per node.
//
// Errors: ErrNotFound for a visitor and for a session that has ended; the classes of package redstart.
func (s *Session[T]) Watch(ctx context.Context) (watched context.Context, cancel context.CancelFunc, err error) {
	if s.m == nil {
		return nil, nil, ErrNoMiddleware
	}
	if err := s.writable(); err != nil {
		return nil, nil, failed("watch", err)
	}
	rec, err := s.current(ctx)
	if err == nil && rec == nil {
		err = ErrNotFound
	}
	if err == nil {
		watched, cancel, err = s.m.records.watch(ctx, rec.at)
	}
	if err != nil {
		return nil, nil, failed("watch", err)
	}
	return watched, cancel, nil
}

func (rs *records) watch(ctx context.Context, at address) (context.Context, context.CancelFunc, error) {
	told, wake := make(chan struct{}, 1), make(chan struct{}, 1)
	asking, stop := context.WithTimeout(ctx, rs.core.Timeout())
	defer stop()
	subscription, err := rs.core.Hub().Subscribe(asking, rs.channel(at.tag), hub.Receiver{
		Message: func(ids string) {
			if names(ids, at.id) {
				signal(told)
			}
		},
		Restored: func() { signal(wake) }, // what was told meanwhile was missed
	})
	if err != nil {
		if ctx.Err() == nil {
			err = fault.New(fault.ErrUnavailable, fmt.Errorf("subscribing to the end of the session: %v", err), "retry") //nolint:errorlint // a context that ended inside is no caller's
		}
		return nil, nil, err
	}
	rec, err := rs.read(ctx, at) // after subscribing: an end before is seen here, one after is told
	if err != nil {
		subscription.Close()
		return nil, nil, err
	}
	watched, cancel := context.WithCancelCause(ctx)
	rs.count.watched.Add(1)
	started := rs.core.Group().Go("watch over a session", func(closing context.Context) {
		defer rs.count.watched.Add(-1)
		defer subscription.Close()
		cancel(rs.lookout(watched, closing, rec, told, wake))
	})
	if !started {
		rs.count.watched.Add(-1)
		subscription.Close()
		cancel(nil)
		return nil, nil, fault.New(fault.ErrUnavailable, hub.ErrClosed, "")
	}
	return watched, func() { cancel(nil) }, nil
}

// lookout waits for the end of a session and returns why it stopped waiting.
func (rs *records) lookout(ctx, closing context.Context, rec *record, told, wake <-chan struct{}) error {
	timer := time.NewTimer(rs.nextLook(rec))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-closing.Done():
			return context.Cause(closing)
		case <-told:
			return ErrRevoked
		case <-wake:
		case <-timer.C:
		}
		switch fresh, err := rs.read(ctx, rec.at); {
		case errors.Is(err, ErrNotFound):
			return ErrRevoked
		case err != nil && rec.deadline > 0 && rs.clock() >= rec.deadline:
			return ErrRevoked // whatever the server would say
		case err != nil:
			timer.Reset(min(watchRetry, rs.nextLook(rec)))
		default:
			rec = fresh
			timer.Reset(rs.nextLook(rec))
		}
	}
}

// nextLook is when a record should be looked at again: when it would expire, but soon enough to notice an end that
// nobody told.
func (rs *records) nextLook(rec *record) time.Duration {
	left := time.Duration(rec.until()-rs.clock())*time.Millisecond + watchLeast
	return max(watchLeast, min(left, watchEvery))
}

// names reports whether a message, ids of 16 bytes each, has this one.
func names(ids, id string) bool {
	for len(ids) >= idLen {
		if ids[:idLen] == id {
			return true
		}
		ids = ids[idLen:]
	}
	return false
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
