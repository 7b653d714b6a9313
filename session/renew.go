package session

import (
	"context"
	"errors"
)

// Renew gives the session a new token, for whenever its rights change. The old token works for
// Options.RenewGrace, so that requests on their way arrive, and never past a logout. One round trip. A visitor has nothing
// to renew; a request that came with a token which was just renewed changes nothing either, because the browser is
// about to get, or has, the newer one.
//
// Errors: ErrNotFound if the session has ended in the meantime (S1); ErrCookieTooLate; the classes of package redstart.
func (s *Session[T]) Renew(ctx context.Context) error {
	if s.m == nil {
		return ErrNoMiddleware
	}
	ctx, end := s.m.records.start(ctx, "renew")
	err := s.renew(ctx)
	end(err)
	if err != nil {
		return failed("renew", err)
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
		s.mu.Lock()
		graced, remember := s.graced, s.remember
		s.mu.Unlock()
		if graced {
			return nil
		}
		if err := s.cookieInTime(); err != nil {
			return err
		}
		secret := random(secretSize)
		fresh, err := s.m.records.save(ctx, rec, rec.payload, secret)
		var stale *staleError
		switch {
		case err == nil:
			return s.adopt(fresh, secret, remember)
		case errors.As(err, &stale):
			s.replace(rec, stale.now, nil)
		default:
			s.replace(rec, nil, err)
			return err
		}
	}
	return ErrConflict
}
