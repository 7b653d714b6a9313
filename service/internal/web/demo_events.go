package web

import (
	"net/http"
)

// storyPoison publishes an event that becomes a dead letter, and redrives it.
func (s *server) storyPoison(w http.ResponseWriter, r *http.Request) error {
	steps, err := s.Demo.Events.Poison(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, steps)
}
