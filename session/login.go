package session

import (
	"context"
	"errors"
)

// Login logs the user in: the session gets a new id, a new token and a new Lifetime. The old token
// ends at once (S4). Call Login each time a user has proved their identity.
//
// Login keeps the data and the flash messages of a visitor and of the same user. The session of
// another user ends, and the new session starts empty. The remember-me token of the old session
// ends; pass [Remember] to issue a new one.
//
// Login makes one round trip for a visitor and for the same user, and three if the session moves to
// the slot of another user. A crash during the move logs the user out. It never leaves two
// sessions.
//
// Errors: ErrNotFound if the session was revoked or destroyed concurrently; then no user is logged
// in (S1). ErrCookieTooLate, before anything has changed. The classes of package redstart. After
// redstart.ErrIndeterminate the old token of the browser is invalid.
func (s *Session[T]) Login(ctx context.Context, user string, opts ...CreateOption) error {
	return s.LoginWith(ctx, user, nil, opts...)
}

// LoginWith is Login with a change of the data in the same write. Either the user is logged in with
// the changed data, or nothing has happened. change gets the data that the session keeps. Like the
// function of [Session.Update], change may be called again.
//
// Errors: the error of change, unwrapped; redstart.ErrTooLarge; the errors of [Session.Login].
func (s *Session[T]) LoginWith(ctx context.Context, user string, change func(*T) error, opts ...CreateOption) error {
	if s.m == nil {
		return ErrNoMiddleware
	}
	ctx, end := s.m.records.start(ctx, "login")
	userErr, err := s.login(ctx, user, change, opts)
	end(errors.Join(userErr, err))
	if err != nil {
		return s.m.records.failed("login", err)
	}
	return userErr
}

func (s *Session[T]) login(ctx context.Context, user string, change func(*T) error, opts []CreateOption) (userErr, err error) {
	if user == "" {
		return nil, errors.New("the user is empty: pass the name of a user")
	}
	c, err := s.m.opt.settings(opts)
	if err != nil {
		return nil, err
	}
	if err := s.writable(); err != nil {
		return nil, err
	}

	for range maxAttempts {
		old, err := s.current(ctx)
		if err != nil {
			return nil, err
		}
		p, userErr, err := s.carriedOver(old, user, change)
		if userErr != nil || err != nil {
			return userErr, err
		}
		created, err := s.loginOnce(ctx, c, p, old)
		done := created != nil && err == nil
		if done {
			s.m.records.emit(ctx, Event{Kind: EventLoggedIn, User: user, ID: created.record.at.id,
				UserAgent: c.userAgent, Address: c.address})
		}
		if created != nil { // also if the login was undone
			s.m.records.emitDisplaced(ctx, user, created.displaced)
		}
		if done || err != nil {
			return nil, err
		}
	}
	return nil, ErrConflict
}

// carriedOver returns the payload with which the new session of a user starts in place of old.
func (s *Session[T]) carriedOver(old *record, user string, change func(*T) error) (p payload, userErr, err error) {
	if old != nil && (old.user == "" || old.user == user) {
		p = old.payload
		if _, err := s.m.decode(p.data); err != nil {
			s.m.records.count.unreadable.Add(1)
			p.data = ""
		}
	}
	p.user = user
	if change != nil {
		userErr, err = s.m.change(&p, change)
	}
	return p, userErr, err
}

// loginOnce tries to replace old by a session with this payload. It returns nil if old has changed.
// If it returns a session and an error, that session was created and has ended again.
func (s *Session[T]) loginOnce(ctx context.Context, c sessionSettings, p payload,
	old *record) (created *createdSession, err error) {
	unlock, err := s.lockToken(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if !s.holds(old) {
		return nil, nil
	}
	unreserve, err := s.reserve()
	if err != nil {
		return nil, err
	}
	defer unreserve()

	rs := s.m.records
	if old == nil || old.at.tag == rs.tag(p.user) {
		created, err = rs.create(ctx, c, p, old)
	} else {
		created, err = rs.move(ctx, c, p, old)
	}
	var stale *staleError
	switch {
	case err == nil:
		s.adopt(created.record, created.secret, created.remember)
		return created, nil
	case errors.As(err, &stale):
		s.replace(old, stale.now, nil)
		return nil, nil
	case old != nil:
		s.replace(old, nil, err)
	}
	return created, err
}
