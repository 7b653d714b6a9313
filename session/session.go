package session

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/redstart-go/redstart/internal/fault"
)

// Session is the session of a user, or of a visitor who has no session on the server.
// [Manager.Create], [Manager.Load] and [Manager.FromContext] return it. Its methods are safe for
// concurrent use.
//
// A Session shows the state that was read last, and the changes of its own calls. Update works on
// the newest state, which includes the changes of other requests.
type Session[T any] struct {
	m    *Manager[T] // nil without the middleware
	resp *response   // nil without the middleware

	mu        sync.Mutex    // never held during a call to the server
	tokenLock chan struct{} // made by lockToken; full while a call changes the token
	state     state
	rec       *record // nil: a visitor
	secret    string
	remember  string // a remember-me token to send
	pending   string // the secret of a renewal that got no reply
	data      *decoded[T]
}

// decoded is the decoded data of a record.
type decoded[T any] struct {
	of    *record
	value T
	err   error
}

// Format prints the ID of the session for every verb. The token is secret (S6).
func (s *Session[T]) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "session %q", s.ID()) }

// LogValue returns the ID of the session, for log/slog.
func (s *Session[T]) LogValue() slog.Value { return slog.StringValue(s.ID()) }

// ID returns the public id of the session, for lists, logs and Revoke. It stays the same until
// Login. It is "" for a visitor.
func (s *Session[T]) ID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rec == nil {
		return ""
	}
	return s.rec.at.id
}

// Token returns the token of the cookie. The token is secret: keep it out of logs and URLs. Token
// returns "" for a visitor. It also returns "" for a session that the response to another request
// has started, see [Manager.Recall].
func (s *Session[T]) Token() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rec == nil || s.secret == "" {
		return ""
	}
	return join(s.rec.at, s.secret)
}

// RememberToken returns the remember-me token that Create, Login or Recall of this session has just
// issued, else "".
func (s *Session[T]) RememberToken() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.remember
}

// User returns the user who is logged in, "" for a visitor.
func (s *Session[T]) User() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rec == nil {
		return ""
	}
	return s.rec.user
}

// Degraded reports that the session of this request could not be read. Then the request is
// anonymous and can't write. See [AnonymousReadOnly].
func (s *Session[T]) Degraded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == degraded
}

// Data returns the data of the session. It makes no round trip, because the load of the request has
// read the data. It decodes once. All callers share what the value points to, so change it with
// Update only. For a visitor it returns the zero T.
//
// Errors: ErrNotFound if the session has ended; ErrUnreadable, which is a redstart.ErrCorrupt, if
// the stored data can't be decoded into T.
func (s *Session[T]) Data(ctx context.Context) (T, error) {
	var zero T
	if s.m == nil {
		return zero, ErrNoMiddleware
	}
	rec, err := s.current(ctx)
	if err != nil {
		return zero, s.m.records.failed("data", err)
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
		return zero, s.m.records.failed("data", undecodable(s.data.err))
	}
	return s.data.value, nil
}

func undecodable(err error) error {
	return fmt.Errorf("%w: %w", ErrUnreadable, fault.New(fault.ErrCorrupt, err,
		"the type or the codec of the data has changed: Update and Login begin with empty data"))
}
