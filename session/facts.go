package session

import (
	"context"
	"time"
)

// AuthenticatedAt returns when the user last proved their identity: at the Login, or at the Login that made the remember-me token of a
// Recalled session. It is the server's time as this process knew it. It is zero for a visitor. Ask for the password again before a
// sensitive change when it is long ago.
func (s *Session[T]) AuthenticatedAt() time.Time {
	if rec := s.snapshot(); rec != nil && rec.authenticated > 0 {
		return time.UnixMilli(rec.authenticated)
	}
	return time.Time{}
}

// Recalled reports that the session began with a remember-me token, and not with a Login.
func (s *Session[T]) Recalled() bool {
	rec := s.snapshot()
	return rec != nil && rec.recalled
}

// CreatedAt returns when the session began, by the server's clock. It is zero for a visitor.
func (s *Session[T]) CreatedAt() time.Time {
	if rec := s.snapshot(); rec != nil {
		return rec.created
	}
	return time.Time{}
}

// ExpiresAt returns when the session ends if it is not used again, by the server's clock. It is zero for a visitor.
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

// Login is [Session.Login] on the session of the request.
func (m *Manager[T]) Login(ctx context.Context, user string, opts ...CreateOption) error {
	return m.FromContext(ctx).Login(ctx, user, opts...)
}

// LoginWith is [Session.LoginWith] on the session of the request.
func (m *Manager[T]) LoginWith(ctx context.Context, user string, change func(*T) error, opts ...CreateOption) error {
	return m.FromContext(ctx).LoginWith(ctx, user, change, opts...)
}

// Update is [Session.Update] on the session of the request.
func (m *Manager[T]) Update(ctx context.Context, change func(*T) error) error {
	return m.FromContext(ctx).Update(ctx, change)
}

// Data is [Session.Data] of the session of the request.
func (m *Manager[T]) Data(ctx context.Context) (T, error) { return m.FromContext(ctx).Data(ctx) }

// Destroy is [Session.Destroy] on the session of the request.
func (m *Manager[T]) Destroy(ctx context.Context) error { return m.FromContext(ctx).Destroy(ctx) }
