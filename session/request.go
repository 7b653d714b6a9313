package session

import (
	"context"
	"time"
)

// AuthenticatedAt returns the time at which the user last proved their identity: the time of the
// Login, or of the Login that issued the remember-me token. It is the time of the server as this
// process estimated it. It is zero for a visitor. If it is long ago, ask for the password before a
// sensitive change.
func (s *Session[T]) AuthenticatedAt() time.Time {
	if rec := s.snapshot(); rec != nil && rec.authenticated > 0 {
		return time.UnixMilli(rec.authenticated)
	}
	return time.Time{}
}

// Recalled reports whether the session started with a remember-me token.
func (s *Session[T]) Recalled() bool {
	rec := s.snapshot()
	return rec != nil && rec.recalled
}

// CreatedAt returns the time at which the session was created, by the clock of the server. It is
// zero for a visitor.
func (s *Session[T]) CreatedAt() time.Time {
	if rec := s.snapshot(); rec != nil {
		return rec.created
	}
	return time.Time{}
}

// ExpiresAt returns the time at which the session ends without further use, by the clock of the
// server. It is zero for a visitor.
func (s *Session[T]) ExpiresAt() time.Time {
	if rec := s.snapshot(); rec != nil {
		return time.UnixMilli(rec.until())
	}
	return time.Time{}
}

func (s *Session[T]) snapshot() *record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rec
}

// Login calls [Session.Login] on the session of the request.
func (m *Manager[T]) Login(ctx context.Context, user string, opts ...CreateOption) error {
	return m.FromContext(ctx).Login(ctx, user, opts...)
}

// LoginWith calls [Session.LoginWith] on the session of the request.
func (m *Manager[T]) LoginWith(ctx context.Context, user string, change func(*T) error, opts ...CreateOption) error {
	return m.FromContext(ctx).LoginWith(ctx, user, change, opts...)
}

// Update calls [Session.Update] on the session of the request.
func (m *Manager[T]) Update(ctx context.Context, change func(*T) error) error {
	return m.FromContext(ctx).Update(ctx, change)
}

// Data calls [Session.Data] on the session of the request.
func (m *Manager[T]) Data(ctx context.Context) (T, error) { return m.FromContext(ctx).Data(ctx) }

// Destroy calls [Session.Destroy] on the session of the request.
func (m *Manager[T]) Destroy(ctx context.Context) error { return m.FromContext(ctx).Destroy(ctx) }
