package web

import (
	"context"
	"net/http"
)

func (s *server) listNotifications(w http.ResponseWriter, r *http.Request) error {
	user, err := s.loggedIn(r)
	if err != nil {
		return err
	}
	list, err := s.Shop.Notifications(r.Context(), user)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, list)
}

// streamNotifications streams the events of the user. The stream ends with the session and when the
// shop shuts down.
func (s *server) streamNotifications(w http.ResponseWriter, r *http.Request) {
	user, err := s.loggedIn(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	watched, cancel, err := s.Shop.Sessions.FromContext(r.Context()).Watch(r.Context())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer cancel()
	if s.Ending != nil {
		defer context.AfterFunc(s.Ending, cancel)()
	}
	if err := s.Shop.Stream(watched, w, r, user); err != nil {
		s.fail(w, r, err)
	}
}
