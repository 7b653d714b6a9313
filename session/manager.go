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

// Manager makes, finds and ends sessions whose data is a T. Use New. Its methods are safe for concurrent use.
type Manager[T any] struct {
	records *records
	opt     Options
	codec   codec.Codec
}

// New returns a Manager on a client. It sends nothing.
//
// The name is required. It is part of every key and bound into the authenticated data, so that managers of different names never accept
// each other's tokens. A second Manager of the same name on one client is a warning in the client's log, and an error if its T is another.
//
// T is encoded by Options.Codec. With the default, JSON, it should be a struct with exported fields; add and remove
// fields freely, but don't change what a field means: sessions outlive releases.
func New[T any](client *redstart.Client, name string, opts Options) (*Manager[T], error) {
	if client == nil {
		return nil, errors.New("session: the client is nil")
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

// Create begins a session for a user, or an anonymous one if user is "": one round trip. Handlers
// behind Middleware don't need it: they call Login on the request's session.
//
// Errors: redstart.ErrTooLarge for data beyond MaxSize; ErrUnavailable, ErrIndeterminate, ErrDenied, ErrFull.
func (m *Manager[T]) Create(ctx context.Context, user string, data T, opts ...CreateOption) (*Session[T], error) {
	ctx, end := m.records.start(ctx, "create")
	s, err := m.create(ctx, user, data, opts)
	end(err)
	if err != nil {
		return nil, failed("create", err)
	}
	return s, nil
}

func (m *Manager[T]) create(ctx context.Context, user string, data T, opts []CreateOption) (*Session[T], error) {
	c, err := m.opt.creation(opts)
	if err != nil {
		return nil, err
	}
	encoded, err := m.encode(&data)
	if err != nil {
		return nil, err
	}
	made, err := m.records.create(ctx, c, payload{user: user, data: encoded}, nil)
	if err != nil {
		return nil, err
	}
	m.records.emit(ctx, Event{Kind: EventCreated, User: user, ID: made.record.at.id, UserAgent: c.userAgent, Address: c.address})
	m.records.emitDisplaced(ctx, user, made.displaced)
	return &Session[T]{m: m, state: known, rec: made.record, secret: made.secret, remember: made.remember}, nil
}

// Load finds the session of a token: one round trip, a second one only for a token that is no longer
// the session's last (Renew). It notes the session's use when the last note is older than
// min(IdleTimeout/10, 1 min), which takes one more (S5).
//
// Errors: ErrNotFound for every token that isn't a living session's (S4); ErrUnavailable and ErrDenied
// say nothing about the session (S8).
func (m *Manager[T]) Load(ctx context.Context, token string) (*Session[T], error) {
	s := &Session[T]{m: m}
	if err := s.find(ctx, token); err != nil {
		return nil, failed("load", err)
	}
	return s, nil
}

// find fills in an empty session and notes its use. Its errors are not wrapped.
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

// FromContext returns the session of a request that passed Middleware: r.Context(), or a context made
// of it. It is never nil; outside the middleware every method that can is ErrNoMiddleware.
func (m *Manager[T]) FromContext(ctx context.Context) *Session[T] {
	if s, ok := ctx.Value(m).(*Session[T]); ok {
		return s
	}
	return &Session[T]{}
}

// Cookie returns the cookie that carries a session's token, for who doesn't use Middleware. For a visitor and for
// a session that ended it is one that deletes the cookie. Send "Cache-Control: no-store" with it.
func (m *Manager[T]) Cookie(s *Session[T]) *http.Cookie {
	return m.opt.Cookie.session(m.cookieOf(s))
}

// cookieOf is what the cookie of a session says: its token, "" for one that has ended, for how long it lives, 0 without end, and
// whether it survives the browser.
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

// Format prints the manager's name and nothing else, whatever the verb: its options hold keys (S6).
func (m *Manager[T]) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "session manager %q", m.records.name)
}

// LogValue is Format for log/slog.
func (m *Manager[T]) LogValue() slog.Value { return slog.StringValue(m.records.name) }

// RememberCookie is Cookie for the remember-me token that Create, Login or Recall has just made; nil if
// there is none to hand out.
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

var errOtherCodec = errors.New("the data is of another codec")

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
