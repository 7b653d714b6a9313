package session

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

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

	mu       sync.Mutex    // never held during a call to the server
	turn     chan struct{} // made by take: holds one while a call that changes the token is on its way
	state    state
	rec      *record // nil: a visitor
	secret   string
	remember string // a remember-me token to hand out
	pending  string // the secret of a renewal that got no answer
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

// Token returns the secret that the cookie carries. Keep it out of logs and URLs. It is "" for a visitor, and for a
// session that another request's answer has begun (see Recall).
func (s *Session[T]) Token() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rec == nil || s.secret == "" {
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

// Degraded reports that this request's session could not be read, so that the request is a visitor's that can't write. See
// AnonymousReadOnly.
func (s *Session[T]) Degraded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == degraded
}

// Data returns the session's data: no round trip, the request's load has brought it. It is decoded once; what it
// points to is shared by all callers, so change it with Update only. A visitor's is the zero T.
//
// Errors: ErrNotFound if the session has ended; ErrUnreadable, which is a redstart.ErrCorrupt, if what is stored can't be decoded into T.
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
	return fmt.Errorf("%w: %w", ErrUnreadable, fault.New(fault.ErrCorrupt, err, "the type or the codec of the data has changed: Update and Login begin with empty data"))
}
