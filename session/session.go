package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/fault"
)

// Session is one session, or a visitor who has none yet. Manager.Create, Load and FromContext hand it out. Its
// methods are safe for concurrent use.
//
// It shows the session as it was read, and as its own calls have changed it since. Other
// requests' changes are met by Update, which works on the newest state.
type Session[T any] struct {
	m    *Manager[T] // nil outside the middleware
	resp *response   // nil without the middleware

	mu       sync.Mutex // never held during a call to the server
	rec      *record    // nil: a visitor
	secret   string
	graced   bool   // the token was replaced by another request's Renew
	remember string // a remember-me token to hand out
	outdated bool   // rec must be read again
	dead     bool   // somebody else ended it
	degraded bool   // it could not be read: AnonymousReadOnly
	data     *decoded[T]
}

// decoded is a record's data, as far as it was looked at.
type decoded[T any] struct {
	of    *record
	value T
	err   error
}

// Format prints the session's ID and nothing else, whatever the verb: the token is a secret (S6).
func (s *Session[T]) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "session %q", s.ID()) }

// LogValue is Format for log/slog.
func (s *Session[T]) LogValue() slog.Value { return slog.StringValue(s.ID()) }

// ID returns the public name of the session: for lists, logs, Revoke. It stays the same until Login.
// It is "" for a visitor.
func (s *Session[T]) ID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rec == nil {
		return ""
	}
	return s.rec.at.id
}

// Token returns the secret that the cookie carries. Keep it out of logs and URLs. It is "" for a visitor.
func (s *Session[T]) Token() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rec == nil {
		return ""
	}
	return join(s.rec.at, s.secret)
}

// RememberToken returns the remember-me token that this session's Create, Login or Recall has just made, else "".
func (s *Session[T]) RememberToken() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.remember
}

// User returns who is logged in, "" for a visitor.
func (s *Session[T]) User() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rec == nil {
		return ""
	}
	return s.rec.user
}

// Degraded reports that this request's session could not be read, so that it passes for a visitor's under
// AnonymousReadOnly.
func (s *Session[T]) Degraded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.degraded
}

// expires is when the session ends for certain; zero if never.
func (s *Session[T]) expires() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rec == nil || s.rec.deadline == 0 {
		return time.Time{}
	}
	return time.UnixMilli(s.rec.deadline)
}

// Data returns the session's data: no round trip, the request's load has brought it. It is decoded once; what it
// points to is shared by all callers, so change it with Update only. A visitor's is the zero T.
//
// Errors: ErrNotFound, and redstart.ErrCorrupt, if what is stored can't be decoded into T.
func (s *Session[T]) Data(ctx context.Context) (T, error) {
	var zero T
	if s.m == nil {
		return zero, ErrNoMiddleware
	}
	rec, err := s.current(ctx)
	if err != nil {
		return zero, failed("data", err)
	}
	if rec == nil {
		return zero, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.data == nil || s.data.of != rec {
		d := &decoded[T]{of: rec}
		d.value, d.err = s.m.decode(rec.data)
		if d.err != nil {
			s.m.records.count.unreadable.Add(1)
		}
		s.data = d
	}
	if s.data.err != nil {
		return zero, failed("data", undecodable(s.data.err))
	}
	return s.data.value, nil
}

func undecodable(err error) error {
	return fmt.Errorf("%w: %w", ErrNotFound, fault.New(fault.ErrCorrupt, err, "the type or the codec of the data has changed"))
}

// current returns the record to work on, nil for a visitor.
func (s *Session[T]) current(ctx context.Context) (*record, error) {
	s.mu.Lock()
	rec, outdated, dead, degraded := s.rec, s.outdated, s.dead, s.degraded
	s.mu.Unlock()
	switch {
	case degraded:
		return nil, nil
	case dead:
		return nil, ErrNotFound
	case rec == nil || !outdated:
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
	if s.rec != old {
		s.outdated = true
		return
	}
	switch {
	case errors.Is(err, ErrNotFound):
		s.dead = true
	case err != nil: // the write may or may not have happened
		s.outdated = true
	default:
		s.rec, s.outdated = fresh, false
		if hash := hashOf(s.secret); fresh.hash != string(hash[:]) {
			s.graced = true
		}
	}
}

// reread has the next call read the record again.
func (s *Session[T]) reread() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outdated = true
}

// writable says whether a call that needs no cookie may write.
func (s *Session[T]) writable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.degraded {
		return errDegraded
	}
	return nil
}

// cookieInTime says whether a new cookie would still reach the browser.
func (s *Session[T]) cookieInTime() error {
	if s.resp != nil && s.resp.began() {
		s.m.records.count.late.Add(1)
		return ErrCookieTooLate
	}
	return nil
}

// adopt makes the session another one, and has its cookies sent. It fails if the response has begun since
// cookieInTime: only a handler that writes and logs in at once can do that.
func (s *Session[T]) adopt(rec *record, secret, remember string) error {
	s.mu.Lock()
	s.rec, s.secret, s.remember = rec, secret, remember
	s.graced, s.outdated, s.dead = false, false, false
	s.mu.Unlock()
	if s.resp != nil && !s.resp.send(true, remember != "") {
		s.m.records.count.late.Add(1)
		return ErrCookieTooLate
	}
	return nil
}
