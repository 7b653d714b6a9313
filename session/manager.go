package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/codec"
	"github.com/redstart-go/redstart/internal/clientcore"
)

// Manager creates, finds and ends sessions with data of type T. Create it with [New]. Its methods
// are safe for concurrent use.
type Manager[T any] struct {
	records *records
	opt     Options
	codec   codec.Codec
}

// New returns a Manager. It sends no command.
//
// The name is required. It is part of every key and of the authenticated data, so managers of
// different names never accept each other's tokens. A second Manager of the same name on one client
// logs a warning. It is an error if its T is another type.
//
// Options.Codec encodes T. With the default, JSON, T should be a struct with exported fields. You
// can add and remove fields. Do not change the meaning of a field, because sessions outlive
// releases.
func New[T any](client *redstart.Client, name string, opts Options) (*Manager[T], error) {
	if client == nil {
		return nil, errors.New("session: the client is nil: call redstart.Open first")
	}
	if name == "" {
		return nil, errors.New("session: the name is empty: name the manager, for example \"web\"")
	}
	opt, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	rs, err := newRecords(clientcore.Of(client), name, &opt)
	if err != nil {
		return nil, fmt.Errorf("session: the name %q: %w", name, err)
	}
	if err := register[T](clientcore.Of(client), name); err != nil {
		return nil, err
	}
	m := &Manager[T]{records: rs, opt: opt, codec: opt.Codec}
	clientcore.Of(client).OnMetrics(rs.metrics)
	return m, nil
}

// Create creates a session of a user, or an anonymous session if user is "". One round trip.
// Handlers behind [Manager.Middleware] call Login instead.
//
// Errors: redstart.ErrTooLarge for data beyond MaxSize; redstart.ErrUnavailable, ErrIndeterminate,
// ErrDenied and ErrFull.
func (m *Manager[T]) Create(ctx context.Context, user string, data T, opts ...CreateOption) (*Session[T], error) {
	ctx, end := m.records.start(ctx, "create")
	s, err := m.create(ctx, user, data, opts)
	end(err)
	if err != nil {
		return nil, m.records.failed("create", err)
	}
	return s, nil
}

func (m *Manager[T]) create(ctx context.Context, user string, data T, opts []CreateOption) (*Session[T], error) {
	c, err := m.opt.settings(opts)
	if err != nil {
		return nil, err
	}
	encoded, err := m.encode(&data)
	if err != nil {
		return nil, err
	}
	created, err := m.records.create(ctx, c, payload{user: user, data: encoded}, nil)
	if err != nil {
		return nil, err
	}
	m.records.emit(ctx, Event{Kind: EventCreated, User: user, ID: created.record.at.id,
		UserAgent: c.userAgent, Address: c.address})
	m.records.emitDisplaced(ctx, user, created.displaced)
	return &Session[T]{m: m, state: known, rec: created.record, secret: created.secret, remember: created.remember}, nil
}

// Load returns the session of a token. One round trip. A token that Renew has replaced costs a
// second one. If the last use was stored more than min(IdleTimeout/10, 1 min) ago, Load stores the
// use, with one round trip more (S5).
//
// Errors: ErrNotFound for a token without a session (S4). After redstart.ErrUnavailable or
// ErrDenied it is unknown whether the session exists (S8).
func (m *Manager[T]) Load(ctx context.Context, token string) (*Session[T], error) {
	s := &Session[T]{m: m}
	if err := s.find(ctx, token); err != nil {
		return nil, m.records.failed("load", err)
	}
	return s, nil
}

// find loads the session of a token into s, which is empty, and stores the use. Its errors are not
// wrapped.
func (s *Session[T]) find(ctx context.Context, token string) (err error) {
	rs := s.m.records
	if rs.core.Observed() {
		var end func(error)
		ctx, end = rs.start(ctx, "load")
		defer func() { end(unlessNotFound(err)) }()
	}
	at, secret, ok := parseToken(token)
	if !ok {
		rs.count.misses.Add(1)
		return ErrNotFound
	}
	rec, err := rs.find(ctx, at, secret)
	if err == nil {
		err = rs.touch(ctx, rec)
	}
	if err != nil {
		if errors.Is(err, ErrNotFound) {
			rs.emit(ctx, Event{Kind: EventUnknown, ID: at.id})
		}
		return err
	}
	s.rec, s.secret, s.state = rec, secret, known
	return nil
}

// FromContext returns the session of a request that passed Middleware. ctx is r.Context() or a
// context derived from it. FromContext never returns nil: without Middleware, it returns a session
// whose methods fail with ErrNoMiddleware.
func (m *Manager[T]) FromContext(ctx context.Context) *Session[T] {
	if s, ok := ctx.Value(m).(*Session[T]); ok {
		return s
	}
	return &Session[T]{}
}

// NewContext returns a context with which [Manager.FromContext] returns a session. It is for
// servers without net/http, such as gRPC: load the session with [Manager.Load], and send
// [Session.Token] if the call has changed it. nil stands for a visitor. NewContext makes no round
// trip.
func (m *Manager[T]) NewContext(ctx context.Context, s *Session[T]) context.Context {
	if s == nil {
		s = &Session[T]{m: m}
	}
	return context.WithValue(ctx, m, s)
}

// Cookie returns the cookie with the token of a session, for handlers without Middleware. For a
// visitor and for a session that has ended, it returns a cookie that deletes the old one. Send
// "Cache-Control: no-store" with it.
func (m *Manager[T]) Cookie(s *Session[T]) *http.Cookie {
	return m.opt.Cookie.session(m.cookieOf(s))
}

// cookieOf returns the values of the session cookie: the token, "" if the session has ended; the
// time that is left, 0 for no limit; and whether the cookie is persistent.
func (m *Manager[T]) cookieOf(s *Session[T]) (token string, left time.Duration, persistent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rec == nil || s.state == ended || s.secret == "" {
		return "", 0, false
	}
	if s.rec.deadline > 0 {
		left = time.Duration(s.rec.deadline-m.records.clock()) * time.Millisecond
		if left <= 0 {
			return "", 0, false
		}
	}
	return join(s.rec.at, s.secret), left, s.rec.persistent
}

// Format prints the name of the Manager for every verb. It does not print the options, which
// contain keys (S6).
func (m *Manager[T]) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "session manager %q", m.records.name)
}

// LogValue returns the name of the Manager, for log/slog.
func (m *Manager[T]) LogValue() slog.Value { return slog.StringValue(m.records.name) }

// RememberCookie returns the cookie with the remember-me token that Create, Login or Recall has
// just issued. It returns nil if there is none.
func (m *Manager[T]) RememberCookie(s *Session[T]) *http.Cookie {
	token := s.RememberToken()
	if token == "" {
		return nil
	}
	return m.opt.Cookie.remember(token, m.opt.RememberFor)
}

func (m *Manager[T]) encode(data *T) (string, error) {
	b, err := m.codec.Append([]byte{m.codec.ID()}, data)
	if err != nil {
		return "", err
	}
	return string(b), nil
}

var errOtherCodec = errors.New("the data was encoded by another codec")

func (m *Manager[T]) decode(data string) (v T, err error) {
	if data == "" {
		return v, nil
	}
	if data[0] != m.codec.ID() {
		return v, errOtherCodec
	}
	if err := m.codec.Unmarshal([]byte(data[1:]), &v); err != nil {
		var zero T
		return zero, err
	}
	return v, nil
}

func unlessNotFound(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}
