package session

import (
	"context"
	"errors"

	"github.com/redstart-go/redstart/internal/fault"
)

// Renew replaces the token of the session. Call it when the rights of the session change. The old
// token stays valid for Options.RenewGrace, for requests that are under way, but not after a
// logout. One round trip.
//
// Renew does nothing for a visitor. It also does nothing for a request whose token was just
// replaced, because the response to another request has the newer token. After an error without a
// reply, Renew may be called again: if the first call had succeeded, the second call sends its
// token.
//
// Errors: ErrNotFound if the session has ended concurrently (S1); ErrCookieTooLate; the classes of
// package redstart.
func (s *Session[T]) Renew(ctx context.Context) error {
	if s.m == nil {
		return ErrNoMiddleware
	}
	before := s.Token()
	ctx, end := s.m.records.start(ctx, "renew")
	err := s.renew(ctx)
	end(err)
	if err != nil {
		return s.m.records.failed("renew", err)
	}
	if s.Token() != before {
		s.m.records.emit(ctx, Event{Kind: EventRenewed, User: s.User(), ID: s.ID()})
	}
	return nil
}

func (s *Session[T]) renew(ctx context.Context) error {
	if err := s.writable(); err != nil {
		return err
	}
	for range maxAttempts {
		rec, err := s.current(ctx)
		if err != nil || rec == nil {
			return err
		}
		if done, err := s.renewOnce(ctx, rec); done || err != nil {
			return err
		}
	}
	return ErrConflict
}

// renewOnce tries to replace the secret of rec. done is false if rec is not the current record any
// more.
func (s *Session[T]) renewOnce(ctx context.Context, rec *record) (done bool, err error) {
	unlock, err := s.lockToken(ctx)
	if err != nil {
		return false, err
	}
	defer unlock()

	s.mu.Lock()
	same, secret, pending, remember := s.rec == rec, s.secret, s.pending, s.remember
	s.mu.Unlock()
	if !same {
		return false, nil
	}
	if !rec.proves(secret) && !rec.proves(pending) {
		return true, nil // another request has replaced the token, and its response has the cookie
	}
	unreserve, err := s.reserve()
	if err != nil {
		return false, err
	}
	defer unreserve()
	if rec.proves(pending) { // an earlier renewal got no reply, but succeeded
		s.adopt(rec, pending, remember)
		return true, nil
	}

	next := random(secretSize)
	fresh, err := s.m.records.save(ctx, rec, rec.payload, next)
	var stale *staleError
	switch {
	case err == nil:
		s.adopt(fresh, next, remember)
		return true, nil
	case errors.As(err, &stale):
		s.replace(rec, stale.now, nil)
		return false, nil
	}
	if errors.Is(err, fault.ErrIndeterminate) {
		s.mu.Lock()
		s.pending = next
		s.mu.Unlock()
	}
	s.replace(rec, nil, err)
	return false, err
}
