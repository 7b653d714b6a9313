package web

import (
	"net/http"
)

// storyRevoke revokes a device of the session story.
func (s *server) storyRevoke(w http.ResponseWriter, r *http.Request) error {
	ended, err := s.Demo.Session.Revoke(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, ended)
}

// storySteal uses a copy of a remember-me token, and then the token.
func (s *server) storySteal(w http.ResponseWriter, r *http.Request) error {
	ended, err := s.Demo.Session.Steal(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, ended)
}
