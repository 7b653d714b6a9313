package web

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/redstart-go/redstart/service/internal/shop"
)

func (s *server) getUser(w http.ResponseWriter, r *http.Request) error {
	id, err := userID(r)
	if err != nil {
		return err
	}
	start := time.Now()
	user, source, err := s.Shop.User(r.Context(), id)
	if err != nil {
		return err
	}
	setSource(w, source, time.Since(start))
	return writeJSON(w, http.StatusOK, s.shown(r, user))
}

// shown returns the fields that the sender of a request may see: users see all of their own fields,
// and the name of other users. Visitors, and requests in an outage of the sessions, see neither
// name nor email address.
func (s *server) shown(r *http.Request, user shop.User) shop.User {
	switch current := s.Shop.Sessions.FromContext(r.Context()); {
	case current.Degraded() || current.User() == "":
		user.Name, user.Email = "", ""
	case current.User() != shop.SessionUser(user.ID):
		user.Email = ""
	}
	return user
}

// findUser requires a login. Otherwise it would reveal to any visitor whether an address has an
// account.
func (s *server) findUser(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.loggedIn(r); err != nil {
		return err
	}
	email := r.URL.Query().Get("email")
	if email == "" {
		return newProblem(http.StatusBadRequest, "the email parameter is missing: /api/users?email=…")
	}
	start := time.Now()
	user, source, err := s.Shop.UserByEmail(r.Context(), email)
	if err != nil {
		return err
	}
	setSource(w, source, time.Since(start))
	return writeJSON(w, http.StatusOK, s.shown(r, user))
}

func (s *server) getSpending(w http.ResponseWriter, r *http.Request) error {
	id, err := s.ownID(r)
	if err != nil {
		return err
	}
	start := time.Now()
	spending, source, err := s.Shop.Spending(r.Context(), id)
	if err != nil {
		return err
	}
	setSource(w, source, time.Since(start))
	return writeJSON(w, http.StatusOK, spending)
}

func (s *server) patchUser(w http.ResponseWriter, r *http.Request) error {
	id, err := s.ownID(r)
	if err != nil {
		return err
	}
	var patch struct {
		Email text `json:"email"`
		Name  text `json:"name"`
	}
	if err := decode(w, r, &patch); err != nil {
		return err
	}
	user, err := s.Shop.UpdateUser(r.Context(), id, shop.UserChange{Email: patch.Email.value, Name: patch.Name.value})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, user)
}

func (s *server) deleteUser(w http.ResponseWriter, r *http.Request) error {
	id, err := s.ownID(r)
	if err != nil {
		return err
	}
	if err := s.Shop.DeleteUser(r.Context(), id); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func userID(r *http.Request) (int64, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || id < 1 {
		return 0, newProblem(http.StatusBadRequest, "a user id is a whole number from 1")
	}
	return id, nil
}

// ownID returns the id of the path, if it is the id of the user of the request.
func (s *server) ownID(r *http.Request) (int64, error) {
	id, err := userID(r)
	if err != nil {
		return 0, err
	}
	self, err := s.loggedIn(r)
	if err == nil && self != id {
		err = errNotYours
	}
	return id, err
}

// outcomes maps each source to the value of X-Cache.
var outcomes = map[shop.Source]string{shop.FromNear: "near", shop.FromCache: "hit", shop.FromStale: "stale",
	shop.FromDatabase: "miss"}

// setSource sets the headers with the source of a response, in the terms of this shop and of RFC
// 9211, and its time.
func setSource(w http.ResponseWriter, source shop.Source, took time.Duration) {
	status := "shop; hit"
	if source == shop.FromDatabase {
		status = "shop; fwd=miss"
	}
	w.Header().Set("Cache-Status", status)
	w.Header().Set("X-Cache", outcomes[source])
	w.Header().Set("Server-Timing", fmt.Sprintf("%s;dur=%.3f", source, float64(took.Microseconds())/1000))
}
