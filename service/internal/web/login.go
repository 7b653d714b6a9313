package web

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/service/internal/shop"
	"github.com/redstart-go/redstart/service/internal/store"
	"github.com/redstart-go/redstart/session"
)

func (s *server) signUp(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Email    string `json:"email"`
		Name     string `json:"name"`
		Password string `json:"password"`
	}
	if err := decode(w, r, &body); err != nil {
		return err
	}
	if err := s.admitFrom(r); err != nil {
		return err
	}
	account, err := s.Shop.SignUp(r.Context(), body.Email, body.Name, body.Password)
	if err != nil {
		return err
	}
	return s.begin(w, r, http.StatusCreated, account)
}

func (s *server) logIn(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Email    string `json:"email"`
		Password string `json:"password"`
	}
	if err := decode(w, r, &body); err != nil {
		return err
	}
	if err := s.admitFrom(r); err != nil {
		return err
	}
	account := shop.AccountKey(body.Email)
	pair := account + "@" + s.addressOf(r)
	if err := admit(r, s.Shop.Limiters.LoginByPair, pair); err != nil {
		return err
	}
	if err := admit(r, s.Shop.Limiters.LoginByAccount, account); err != nil {
		return err
	}
	user, err := s.Shop.LogIn(r.Context(), body.Email, body.Password)
	if err != nil {
		return err
	}
	// The correct password proves that the sender does not guess: the attempts from this address
	// are reset, attempts from other addresses are not.
	if err := s.Shop.Limiters.LoginByPair.Reset(r.Context(), pair); err != nil {
		return err
	}
	return s.begin(w, r, http.StatusOK, user)
}

// begin logs the user in, with a new token, and responds with the user.
func (s *server) begin(w http.ResponseWriter, r *http.Request, status int, user shop.Account) error {
	err := s.Shop.Sessions.FromContext(r.Context()).LoginWith(r.Context(), shop.SessionUser(user.ID), func(v *shop.Visit) error {
		v.Plan = user.Plan
		return nil
	}, session.Device(r.UserAgent(), s.addressOf(r)))
	if err != nil {
		return err
	}
	if err := s.endIfDeleted(r, user.ID); err != nil {
		return err
	}
	return writeJSON(w, status, user)
}

// endIfDeleted ends the session that was just created if the user was deleted concurrently. A
// deletion removes the row first and then revokes the sessions: either it finds this session, or
// the row is gone here.
func (s *server) endIfDeleted(r *http.Request, id int64) error {
	err := s.Shop.Exists(r.Context(), id)
	if err == nil {
		return nil
	}
	ended := s.Shop.Sessions.FromContext(r.Context()).Destroy(context.WithoutCancel(r.Context()))
	if errors.Is(err, store.ErrNotFound) {
		err = shop.ErrWrongLogin
	}
	if ended != nil {
		return ended
	}
	return err
}

func (s *server) logOut(w http.ResponseWriter, r *http.Request) error {
	current := s.Shop.Sessions.FromContext(r.Context())
	if current.Degraded() {
		return errNoSessions
	}
	if err := current.Destroy(r.Context()); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *server) me(w http.ResponseWriter, r *http.Request) error {
	id, err := s.loggedIn(r)
	if err != nil {
		return err
	}
	start := time.Now()
	user, source, err := s.Shop.User(r.Context(), id)
	if errors.Is(err, store.ErrNotFound) { // the user was deleted, and this session was not revoked
		return errNotLoggedIn
	}
	if err != nil {
		return err
	}
	visit, err := s.Shop.Sessions.FromContext(r.Context()).Data(r.Context())
	if err != nil {
		return err
	}
	setSource(w, source, time.Since(start))
	return writeJSON(w, http.StatusOK, shop.Account{User: user, Plan: visit.Plan})
}

var (
	errNotLoggedIn = newProblem(http.StatusUnauthorized, "log in first")
	errNoSessions  = newProblem(http.StatusServiceUnavailable,
		"sessions are unavailable while Redis is down. Try again in a moment")
	errNotYours = newProblem(http.StatusForbidden, "this belongs to another user")
)

// loggedIn returns the id of the user of the request.
func (s *server) loggedIn(r *http.Request) (int64, error) {
	current := s.Shop.Sessions.FromContext(r.Context())
	if current.Degraded() {
		return 0, errNoSessions
	}
	if current.User() == "" {
		return 0, errNotLoggedIn
	}
	return strconv.ParseInt(current.User(), 10, 64)
}

// admitFrom counts a login attempt of the address of the request.
func (s *server) admitFrom(r *http.Request) error {
	return admit(r, s.Shop.Limiters.LoginByAddress, s.addressOf(r))
}

func admit(r *http.Request, limiter *ratelimit.Limiter, key string) error {
	result, err := limiter.Allow(r.Context(), key)
	if err != nil || result.Allowed {
		return err
	}
	seconds := int(math.Ceil(result.RetryAfter.Seconds()))
	p := newProblem(http.StatusTooManyRequests, "too many login attempts. Try again in %s", inWords(seconds))
	p.retryAfter = seconds
	return p
}

// inWords rounds a wait up to seconds or minutes.
func inWords(seconds int) string {
	switch {
	case seconds == 1:
		return "1 second"
	case seconds < 120:
		return strconv.Itoa(seconds) + " seconds"
	}
	return strconv.Itoa((seconds+59)/60) + " minutes"
}

// addressOf returns the address of the client, or "" if the connection has none.
func (s *server) addressOf(r *http.Request) string {
	address, err := s.client(r)
	if err != nil {
		return ""
	}
	return address
}
