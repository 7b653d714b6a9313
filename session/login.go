package session

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/script"
)

var (
	//go:embed bury.lua
	buryLua string
	//go:embed unbury.lua
	unburyLua string

	buryScript   = script.New(recordLua + buryLua)
	unburyScript = script.New(recordLua + unburyLua)
)

// graveTime is how long a session that is being moved to another slot can be taken back.
const graveTime = 10 * time.Second

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
		if done, err := s.loginOnce(ctx, c, p, old); done || err != nil {
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

// loginOnce tries to put a session with this payload in the place of the old one. It is false if the old one is another by now.
func (s *Session[T]) loginOnce(ctx context.Context, c creation, p payload, old *record) (done bool, err error) {
	leave, err := s.take(ctx)
	if err != nil {
		return false, err
	}
	defer leave()
	if !s.is(old) {
		return false, nil
	}
	settled, err := s.reserve()
	if err != nil {
		return false, err
	}
	defer settled()

	rs := s.m.records
	var made *made
	if old == nil || old.at.tag == rs.tag(p.user) {
		made, err = rs.create(ctx, c, p, old)
	} else {
		made, err = rs.move(ctx, c, p, old)
	}
	var stale *staleError
	switch {
	case err == nil:
		s.adopt(made.record, made.secret, made.remember)
		return true, nil
	case errors.As(err, &stale):
		s.replace(old, stale.now, nil)
		return false, nil
	case old != nil:
		s.replace(old, nil, err)
	}
	return false, err
}

// move ends a session in its slot and begins its successor in the user's:
//
//	(1) old slot: bury, if the version is still the one whose data we carry    the old token is dead from here
//	(2) new slot: create
//	(3) old slot: drop what was buried
//
// Whoever meets the buried session finds nothing. If (2) certainly did not happen, (1) is taken back, unless somebody
// revoked the buried session, which is then gone.
func (rs *records) move(ctx context.Context, c creation, p payload, old *record) (*made, error) {
	if err := rs.fits(&p); err != nil {
		return nil, err
	}
	nonce := newVersion()
	keys := []string{rs.index(old.at.tag), rs.key(old.at)}
	rs.before("bury")
	msg, err := rs.core.Eval(ctx, buryScript, keys, []string{rs.core.PublishCommand(ctx), old.version, nonce, millis(graveTime), old.at.id})
	if err == nil {
		err = rs.refused(old.at, msg)
	}
	if err != nil {
		return nil, err
	}
	rs.before("move")
	made, err := rs.create(ctx, c, p, nil)
	if err != nil {
		return nil, rs.takeBack(ctx, old, nonce, err)
	}
	// What is left ends by itself soon; to the caller the login has succeeded.
	if _, err := rs.end(context.WithoutCancel(ctx), old.at.tag, false, old.at.id); err != nil {
		rs.core.Logger().Debug("session: a moved session's rest expires by itself", "error", err)
	}
	return made, nil
}

// takeBack undoes the first step after the second failed with cause.
func (rs *records) takeBack(ctx context.Context, old *record, nonce string, cause error) error {
	if errors.Is(cause, fault.ErrIndeterminate) {
		return cause // there may be a successor: bringing the old one back could make two
	}
	msg, err := rs.core.Eval(context.WithoutCancel(ctx), unburyScript, []string{rs.index(old.at.tag), rs.key(old.at)}, []string{nonce, old.version, old.at.id})
	if err == nil {
		err = rs.refused(old.at, msg)
	}
	if err != nil {
		return fmt.Errorf("%w (and the session before could not be brought back: %w)", cause, err)
	}
	return cause
}
