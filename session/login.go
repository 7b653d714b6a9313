package session

import (
	"context"
	"errors"
)

// Login makes the session the user's: a new id, a new token and a new Lifetime, the old token dead at once (S4). Call it whenever a user has
// proved their identity, again too. Data and flash messages come along from a visitor and from the same user; the session of
// another user ends and this one begins empty. One round trip for a visitor and for the same user; three if the session moves to another
// user's slot. A crash in between logs out; it never leaves two sessions. The remember-me token of the old session ends; pass Remember
// to make one.
//
// Errors: ErrNotFound if the session was revoked or destroyed in the meantime, and then nobody is logged in (S1);
// ErrCookieTooLate, before anything is done; the classes of package redstart. After ErrIndeterminate the browser's old token is dead.
func (s *Session[T]) Login(ctx context.Context, user string, opts ...CreateOption) error {
	return s.LoginWith(ctx, user, nil, opts...)
}

// LoginWith is Login that also changes the data, in the same write: either the user is logged in with the changed data, or nothing has
// happened. change gets the data that comes along, and may be called again, like Update's.
//
// Errors: change's own, as it is; redstart.ErrTooLarge; those of Login.
func (s *Session[T]) LoginWith(ctx context.Context, user string, change func(*T) error, opts ...CreateOption) error {
	if s.m == nil {
		return ErrNoMiddleware
	}
	ctx, end := s.m.records.start(ctx, "login")
	theirs, err := s.login(ctx, user, change, opts)
	end(errors.Join(theirs, err))
	if err != nil {
		return failed("login", err)
	}
	return theirs
}

func (s *Session[T]) login(ctx context.Context, user string, change func(*T) error, opts []CreateOption) (theirs, err error) {
	if user == "" {
		return nil, errors.New("the user is empty")
	}
	c, err := s.m.opt.creation(opts)
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
		p, theirs, err := s.carried(old, user, change)
		if theirs != nil || err != nil {
			return theirs, err
		}
		made, err := s.loginOnce(ctx, c, p, old)
		done := made != nil && err == nil
		if done {
			s.m.records.emit(ctx, Event{Kind: EventLoggedIn, User: user, ID: made.record.at.id, UserAgent: c.userAgent, Address: c.address})
		}
		if made != nil { // also by a login that was taken back
			s.m.records.emitDisplaced(ctx, user, made.displaced)
		}
		if done || err != nil {
			return nil, err
		}
	}
	return nil, ErrConflict
}

// carried is what a new session of a user begins with, in place of the old one.
func (s *Session[T]) carried(old *record, user string, change func(*T) error) (p payload, theirs, err error) {
	if old != nil && (old.user == "" || old.user == user) {
		p = old.payload
		if _, err := s.m.decode(p.data); err != nil {
			s.m.records.count.unreadable.Add(1)
			p.data = ""
		}
	}
	p.user = user
	if change != nil {
		theirs, err = s.m.change(&p, change)
	}
	return p, theirs, err
}

// loginOnce tries to put a session with this payload in the place of the old one. It returns nil if the old one has changed. A
// session with an error began and was taken back.
func (s *Session[T]) loginOnce(ctx context.Context, c creation, p payload, old *record) (made *made, err error) {
	leave, err := s.take(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if !s.is(old) {
		return nil, nil
	}
	settled, err := s.reserve()
	if err != nil {
		return nil, err
	}
	defer settled()

	rs := s.m.records
	if old == nil || old.at.tag == rs.tag(p.user) {
		made, err = rs.create(ctx, c, p, old)
	} else {
		made, err = rs.move(ctx, c, p, old)
	}
	var stale *staleError
	switch {
	case err == nil:
		s.adopt(made.record, made.secret, made.remember)
		return made, nil
	case errors.As(err, &stale):
		s.replace(old, stale.now, nil)
		return nil, nil
	case old != nil:
		s.replace(old, nil, err)
	}
	return made, err
}
