package session

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Middleware gives each request its session. [Manager.FromContext] returns that session.
//
// A request with a session cookie costs one read before the handler runs, and one write per
// min(IdleTimeout/10, 1 min). A request without a cookie costs nothing (S5). If a call in the
// handler needs a cookie, for example Login, Middleware adds the cookie and Cache-Control: no-store
// to the response header. After the header was sent, such a call fails with ErrCookieTooLate (S7).
// A request with an unknown or expired token is anonymous. Middleware does not delete its cookie,
// because a login in another tab may have just replaced it.
//
// If the server does not answer, the session can't be read. Then Options.Outage decides between a
// 503 and an anonymous request that can't write (S8).
//
// With Options.Bearer, a request can send its token as "Authorization: Bearer <token>". Then
// Middleware does not read its cookies, and sends new tokens in the response header Session-Token.
//
// The ResponseWriter of the handler implements http.Flusher, http.Hijacker, io.ReaderFrom and
// http.Pusher exactly if the ResponseWriter of the server does. It supports
// http.ResponseController. Every response has Vary: Cookie.
func (m *Manager[T]) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m.opt.Skip != nil && m.opt.Skip(r) {
			next.ServeHTTP(w, r)
			return
		}
		ex := &exchange[T]{Context: r.Context()}
		ex.session.m, ex.session.resp = m, &ex.response
		ex.response.w, ex.response.cookies = w, ex
		if err := ex.identify(r); err != nil {
			if m.opt.Outage == Refuse {
				m.records.core.Degraded("session", m.records.name, "refuse", err)
				vary(w.Header())
				m.refuse(w, r, err)
				return
			}
			m.records.core.Degraded("session", m.records.name, "anonymous", err)
			ex.session.state = degraded
		}
		// If the handler wrote nothing, the server sends the header now. After a panic, an outer
		// middleware can respond.
		defer ex.response.begin()
		next.ServeHTTP(ex.response.withCapabilities(), r.WithContext(ex))
	})
}

// exchange is a request and its response. One allocation holds the context of the request, the
// ResponseWriter of the handler and the session.
type exchange[T any] struct {
	context.Context
	response response
	session  Session[T]
	bearer   bool // the request brought its token in the Authorization header
}

// Value implements context.Context. It returns the session for the key that FromContext uses.
func (ex *exchange[T]) Value(key any) any {
	if m, ok := key.(*Manager[T]); ok && m == ex.session.m {
		return &ex.session
	}
	return ex.Context.Value(key)
}

// Format keeps the token out of printed contexts (S6).
func (ex *exchange[T]) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "%v, with %v", ex.Context, &ex.session)
}

// identify finds the session of the request. After an error it is unknown whether there is a
// session.
func (ex *exchange[T]) identify(r *http.Request) error {
	s, m := &ex.session, ex.session.m
	if token, ok := bearerToken(r.Header); ok && m.opt.Bearer {
		ex.bearer = true
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
		if s.secret != "" { // otherwise the response to another request has the cookies
			ex.response.send(true, s.remember != "", true)
		}
		return nil
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrTooManySessions):
		return nil
	case errors.Is(err, ErrUnreadable): // this process lacks the key
		// The user may log in. An anonymous session must not replace the token.
		s.state = superseded
		return nil
	default:
		return err
	}
}

// setCookies adds the cookies to the header, just before it is sent.
func (ex *exchange[T]) setCookies(h http.Header, session, remember bool) {
	s := &ex.session
	// OWASP ASVS 14.3.2. With "no-cache", browsers could store the response with the cookie.
	h.Set("Cache-Control", "no-store")
	if ex.bearer {
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

// Response headers for clients with a bearer token. They have the new tokens after Login, Renew, a
// first Update and a recall, instead of cookies. See Options.Bearer.
const (
	TokenHeader         = "Session-Token"
	RememberTokenHeader = "Session-Remember-Token"
)

// bearerToken returns the credentials of RFC 6750. ok reports whether there are any, even malformed
// or empty ones: HTTP removes the space after a Bearer without a token.
func bearerToken(h http.Header) (token string, ok bool) {
	lines := h["Authorization"]
	if len(lines) != 1 {
		return "", false
	}
	scheme, token, _ := strings.Cut(lines[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return strings.Trim(token, " "), true
}

// refuse responds to a request whose session can't be read.
func (m *Manager[T]) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if m.opt.OnOutage != nil {
		m.opt.OnOutage(w, r, m.records.failed("load", err))
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Retry-After", "1")
	http.Error(w, "Service Unavailable", http.StatusServiceUnavailable)
}

// varyCookie is shared by all responses. It has no spare capacity, so an append copies it.
var varyCookie = []string{"Cookie"}

// vary adds Cookie to the Vary header, unless the header names it already.
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
