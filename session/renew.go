package session

import (
	"context"
	"errors"

	"github.com/redstart-go/redstart/internal/fault"
)

// Renew gives the session a new token, for whenever its rights change. The old token works for
// Options.RenewGrace, so that requests on their way arrive, and never past a logout. One round trip. A visitor has nothing
// to renew; a request that came with a token which was just renewed changes nothing either, because the browser is
// about to get, or has, the newer one. A Renew that got no answer may be called again: if it had happened, the second call hands out its token.
//
// Errors: ErrNotFound if the session has ended in the meantime (S1); ErrCookieTooLate; the classes of package redstart.
func (s *Session[T]) Renew(ctx context.Context) error {
	if s.m == nil {
		return ErrNoMiddleware
	}
	before := s.Token()
	ctx, end := s.m.records.start(ctx, "renew")
	err := s.renew(ctx)
	end(err)
	if err != nil {
		return failed("renew", err)
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

// renewOnce tries to give the record another secret. It is false if the record is another by now.
func (s *Session[T]) renewOnce(ctx context.Context, rec *record) (done bool, err error) {
	leave, err := s.take(ctx)
	if err != nil {
		return false, err
	}
	defer leave()
	s.mu.Lock()
	same, secret, pending, remember := s.rec == rec, s.secret, s.pending, s.remember
	s.mu.Unlock()
	if !same {
		return false, nil
	}
	if !rec.proves(secret) && !rec.proves(pending) {
		return true, nil // another request has replaced the token: its answer has the cookie
	}
	settled, err := s.reserve()
	if err != nil {
		return false, err
	}
	defer settled()
	if rec.proves(pending) { // a renewal before got no answer, but happened
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
