package session

import (
	"context"
	"errors"
)

// state is what a Session knows about its record. docs/design/0040-session-states.md has the table
// of transitions.
type state uint8

const (
	// visitor: there is no record. The first Update, Flash or Login creates one.
	visitor state = iota
	// known: rec is the state that this Session read or wrote last.
	known
	// outdated: a write got no reply, or two calls overlapped. The next call reads the record.
	outdated
	// ended: the record is gone, or another one replaced it.
	ended
	// superseded: the request had a token that a login or logout of the same browser has just
	// replaced. It may log in. Its first Update must not create a session, because the cookie of
	// that session would replace the cookie of the login.
	superseded
	// degraded: it is unknown whether there is a record. Nothing can be written.
	degraded
)

// current returns the record to work on, or nil for a visitor.
func (s *Session[T]) current(ctx context.Context) (*record, error) {
	s.mu.Lock()
	rec, now := s.rec, s.state
	s.mu.Unlock()

	switch now {
	case visitor, superseded, degraded:
		return nil, nil
	case ended:
		return nil, ErrNotFound
	case known:
		return rec, nil
	}

	fresh, err := s.m.records.read(ctx, rec.at)
	if err == nil && fresh.kind == kindRemember {
		err = ErrNotFound
	}
	s.replace(rec, fresh, err)
	return fresh, err
}

// replace stores the result of a call that worked on the record old. If another call of this
// process was faster, it is unknown which of the two records is newer, and the next call reads the
// record.
func (s *Session[T]) replace(old, fresh *record, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.rec != old:
		if s.state == known {
			s.state = outdated
		}
	case errors.Is(err, ErrNotFound):
		s.state = ended
	case err != nil: // the write may or may not have happened
		s.state = outdated
	default:
		s.rec, s.state = fresh, known
	}
}

// reread makes the next call read the record again.
func (s *Session[T]) reread() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == known {
		s.state = outdated
	}
}

// lockToken waits until no other call of this Session changes its token, and blocks such calls
// until unlock. No code of the user runs while it is locked.
func (s *Session[T]) lockToken(ctx context.Context) (unlock func(), err error) {
	s.mu.Lock()
	if s.tokenLock == nil {
		s.tokenLock = make(chan struct{}, 1)
	}
	tokenLock := s.tokenLock
	s.mu.Unlock()

	unlock = func() { <-tokenLock }
	select {
	case tokenLock <- struct{}{}:
		return unlock, nil
	default:
	}
	select {
	case tokenLock <- struct{}{}:
		return unlock, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// holds reports whether rec is still the record of this Session.
func (s *Session[T]) holds(rec *record) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rec == rec
}

// replacedByLogin reports whether a login of this Session has replaced rec, which a call has not
// found:
//
//	Login   the server ends rec ────────────────────── adopt
//	Update              does not find rec ── waits ────────── continues with the new record
func (s *Session[T]) replacedByLogin(ctx context.Context, rec *record) bool {
	unlock, err := s.lockToken(ctx)
	if err != nil {
		return false
	}
	defer unlock()
	return !s.holds(rec)
}

// writable returns an error if this Session can't write.
func (s *Session[T]) writable() error {
	if s.Degraded() {
		return errDegraded
	}
	return nil
}

// reserve delays the response header until unreserve is called, so that the header can carry the
// cookie of the call in between.
func (s *Session[T]) reserve() (unreserve func(), err error) {
	if s.resp == nil {
		return func() {}, nil
	}
	if !s.resp.reserve() {
		s.m.records.count.late.Add(1)
		return nil, ErrCookieTooLate
	}
	return s.resp.release, nil
}

// adopt replaces the record of this Session and sends its cookies. The caller has reserved the
// response.
func (s *Session[T]) adopt(rec *record, secret, remember string) {
	s.mu.Lock()
	s.rec, s.secret, s.remember, s.pending, s.state = rec, secret, remember, "", known
	s.mu.Unlock()
	if s.resp != nil {
		s.resp.send(true, remember != "", false)
	}
}
