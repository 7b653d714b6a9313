package session

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Middleware gives every request its session, for FromContext.
//
// A request with a session cookie costs one read before the handler runs, and a write no more often than every
// min(IdleTimeout/10, 1 min); one without costs nothing (S5). Whatever in a handler needs a cookie, Login first of all, has it set when the
// header goes out, with Cache-Control: no-store; called after that it fails with ErrCookieTooLate (S7). An unknown or expired
// token makes a visitor, and the cookie stays as it is: a login in another tab may have just replaced it.
//
// If a session can't be read because the server doesn't answer, Options.Outage decides: 503, or a visitor who can't write (S8).
//
// With Options.Bearer a request may bring its token as "Authorization: Bearer <token>" instead. Its cookies are not looked at, and a new token
// is in the answer's Session-Token header.
//
// The ResponseWriter that the handler gets is a Flusher, a Hijacker, an io.ReaderFrom and an http.Pusher exactly if the server's
// is, and unwraps for http.ResponseController. Responses carry Vary: Cookie.
func (m *Manager[T]) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m.opt.Skip != nil && m.opt.Skip(r) {
			next.ServeHTTP(w, r)
			return
		}
		x := &exchange[T]{Context: r.Context()}
		x.session.m, x.session.resp = m, &x.response
		x.response.w, x.response.cookies = w, x
		if err := x.identify(r); err != nil {
			if m.opt.Outage == Refuse {
				m.records.core.Degraded("session", m.records.name, "refuse", err)
				vary(w.Header())
				m.refuse(w, r, err)
				return
			}
			m.records.core.Degraded("session", m.records.name, "anonymous", err)
			x.session.state = degraded
		}
		// A handler that wrote nothing: the server sends the header next. After a panic, a middleware further out may answer.
		defer x.response.begin()
		next.ServeHTTP(x.response.capable(), r.WithContext(x))
	})
}

// exchange is one request and its response: the request's context, the handler's ResponseWriter and the session in one
// piece of memory.
type exchange[T any] struct {
	context.Context
	response response
	session  Session[T]
	bearer   bool // the request brought its token in the Authorization header
}

// Value makes the exchange the context in which FromContext looks.
func (x *exchange[T]) Value(key any) any {
	if m, ok := key.(*Manager[T]); ok && m == x.session.m {
		return &x.session
	}
	return x.Context.Value(key)
}

// Format keeps the token out of what prints a context (S6).
func (x *exchange[T]) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "%v, with %v", x.Context, &x.session)
}

// identify finds the request's session. An error means that it is not known whether there is one.
func (x *exchange[T]) identify(r *http.Request) error {
	s, m := &x.session, x.session.m
	if token, ok := bearerToken(r.Header); ok && m.opt.Bearer {
		x.bearer = true
		err := s.find(r.Context(), token)
		if errors.Is(err, errReplaced) {
			s.state = superseded
		}
		return unlessNotFound(err)
	}
	if token := cookieToken(r.Header, m.opt.Cookie.Name); token != "" {
		err := s.find(r.Context(), token)
		if err == nil {
			return nil
		}
		if !errors.Is(err, ErrNotFound) {
			return err
		}
		if errors.Is(err, errReplaced) {
			s.state = superseded
		}
	}
	token := cookieToken(r.Header, m.opt.Cookie.RememberName)
	if token == "" {
		return nil
	}
	switch err := s.recall(r.Context(), token, []CreateOption{sameDevice(m.opt.Device(r))}); {
	case err == nil:
		if s.secret != "" { // else the answer to another request carries the cookies
			x.response.send(true, s.remember != "", true)
		}
		return nil
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrTooManySessions):
		return nil
	case errors.Is(err, ErrUnreadable): // under a key that this process lacks: the user may log in, and no visitor's session may hide the token
		s.state = superseded
		return nil
	default:
		return err
	}
}

// setCookies is called when the header goes out.
func (x *exchange[T]) setCookies(h http.Header, session, remember bool) {
	s := &x.session
	h.Set("Cache-Control", "no-store") // OWASP ASVS 14.3.2; "no-cache" would let browsers keep the cookie's response
	if x.bearer {
		if token := s.Token(); session && token != "" {
			h.Set(TokenHeader, token)
		}
		if token := s.RememberToken(); remember && token != "" {
			h.Set(RememberTokenHeader, token)
		}
		return
	}
	if session {
		h.Add("Set-Cookie", s.m.Cookie(s).String())
	}
	if remember {
		token := s.RememberToken()
		h.Add("Set-Cookie", s.m.opt.Cookie.remember(token, s.m.opt.RememberFor).String())
	}
}

// What the answer to a request with a bearer token carries instead of cookies, after Login, Renew and a first Update.
const (
	TokenHeader         = "Session-Token"
	RememberTokenHeader = "Session-Remember-Token"
)

// bearerToken finds the credentials of RFC 6750 in a request; ok if there are any, of whatever form.
func bearerToken(h http.Header) (token string, ok bool) {
	lines := h["Authorization"]
	if len(lines) != 1 {
		return "", false
	}
	scheme, token, found := strings.Cut(lines[0], " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return strings.Trim(token, " "), true
}

// refuse answers a request whose session is not known.
func (m *Manager[T]) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if m.opt.OnOutage != nil {
		m.opt.OnOutage(w, r, failed("load", err))
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Retry-After", "1")
	http.Error(w, "Service Unavailable", http.StatusServiceUnavailable)
}

// varyCookie is shared by all responses: it has no room, so that who adds to it copies it.
var varyCookie = []string{"Cookie"}

// vary makes sure that Vary names Cookie, whatever the handler has done with the field.
func vary(h http.Header) {
	lines, ok := h["Vary"]
	if !ok {
		h["Vary"] = varyCookie[:1:1]
		return
	}
	for _, line := range lines {
		for field := range strings.SplitSeq(line, ",") {
			if field = strings.TrimSpace(field); field == "*" || strings.EqualFold(field, "Cookie") {
				return
			}
		}
	}
	h.Add("Vary", "Cookie")
}
