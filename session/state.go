package session

import (
	"context"
	"errors"
)

// state is what a Session knows of its record. docs/design/0040-session-states.md has the table of transitions.
type state uint8

const (
	// visitor: there is no record. The first Update, Flash or Login makes one.
	visitor state = iota
	// known: the record is as this Session read or wrote it last.
	known
	// outdated: a write got no answer, or two calls crossed. The next call reads the record.
	outdated
	// ended: the record is gone, or another one replaced it.
	ended
	// superseded: the request came with the token of before a login or logout of its own browser. It may log in, but its first Update must
	// not begin a session, whose cookie would replace the login's.
	superseded
	// degraded: it is not known whether there is a record. Nothing can be written.
	degraded
)

// current returns the record to work on, nil for a visitor.
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

// replace puts in what a call has learned about the record that it worked on. If another call of this
// process was faster, neither is known to be the newer, and the next one reads.
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

// reread has the next call read the record again.
func (s *Session[T]) reread() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == known {
		s.state = outdated
	}
}

// take waits until no other call of this Session changes its token, and keeps others from it. It runs no code of the user until leave.
func (s *Session[T]) take(ctx context.Context) (leave func(), err error) {
	s.mu.Lock()
	if s.turn == nil {
		s.turn = make(chan struct{}, 1)
	}
	turn := s.turn
	s.mu.Unlock()

	leave = func() { <-turn }
	select {
	case turn <- struct{}{}:
		return leave, nil
	default:
	}
	select {
	case turn <- struct{}{}:
		return leave, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// is reports whether rec is still the record of this Session.
func (s *Session[T]) is(rec *record) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rec == rec
}

// movedOn reports that a login of this very Session has put another record in the place of rec, which a call found gone:
//
//	Login   the server ends rec ───────────────── adopt
//	Update              finds rec gone ── waits ────────── goes on with the new record
func (s *Session[T]) movedOn(ctx context.Context, rec *record) bool {
	leave, err := s.take(ctx)
	if err != nil {
		return false
	}
	defer leave()
	return !s.is(rec)
}

// writable says whether a call that needs no cookie may write.
func (s *Session[T]) writable() error {
	if s.Degraded() {
		return errDegraded
	}
	return nil
}

// reserve keeps the header of the response back until settled is called, so that the cookie of the call in between is in time.
func (s *Session[T]) reserve() (settled func(), err error) {
	if s.resp == nil {
		return func() {}, nil
	}
	if !s.resp.reserve() {
		s.m.records.count.late.Add(1)
		return nil, ErrCookieTooLate
	}
	return s.resp.settle, nil
}

// adopt makes the session another one, and has its cookies sent. The caller has reserved the response.
func (s *Session[T]) adopt(rec *record, secret, remember string) {
	s.mu.Lock()
	s.rec, s.secret, s.remember, s.pending, s.state = rec, secret, remember, "", known
	s.mu.Unlock()
	if s.resp != nil {
		s.resp.send(true, remember != "", false)
	}
}
