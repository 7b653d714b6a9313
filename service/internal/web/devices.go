package web

import (
	"errors"
	"net/http"
	"time"

	"github.com/redstart-go/redstart/service/internal/shop"
	"github.com/redstart-go/redstart/session"
)

type device struct {
	ID        string    `json:"id"`
	Current   bool      `json:"current"`
	Created   time.Time `json:"created"`
	LastSeen  time.Time `json:"last_seen"`
	UserAgent string    `json:"user_agent"`
	Address   string    `json:"address"`
}

// devices lists the devices on which the user is logged in, newest first.
func (s *server) devices(w http.ResponseWriter, r *http.Request) error {
	id, err := s.loggedIn(r)
	if err != nil {
		return err
	}
	sessions, err := s.Shop.Sessions.List(r.Context(), shop.SessionUser(id))
	if err != nil {
		return err
	}
	current := s.Shop.Sessions.FromContext(r.Context()).ID()
	list := make([]device, 0, len(sessions))
	for _, info := range sessions {
		list = append(list, device{info.ID, info.ID == current, info.Created, info.LastSeen, info.UserAgent, info.Address})
	}
	return writeJSON(w, http.StatusOK, list)
}

// revokeDevice logs out one device of the user and ends its streams.
func (s *server) revokeDevice(w http.ResponseWriter, r *http.Request) error {
	id, err := s.loggedIn(r)
	if err != nil {
		return err
	}
	switch err := s.Shop.Sessions.Revoke(r.Context(), shop.SessionUser(id), r.PathValue("id")); {
	case errors.Is(err, session.ErrNotFound):
		return newProblem(http.StatusNotFound, "you are not logged in on this device")
	case err != nil:
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// revokeOthers logs out all devices of the user but this one.
func (s *server) revokeOthers(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.loggedIn(r); err != nil {
		return err
	}
	if _, err := s.Shop.Sessions.FromContext(r.Context()).RevokeOthers(r.Context()); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
