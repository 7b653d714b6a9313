package web

import (
	"net/http"
)

// storyRun processes a new order in both instances of the lock story. With pause, instance B is cut
// off from Redis while it holds the lock.
func (s *server) storyRun(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Pause bool `json:"pause"`
	}
	if err := decode(w, r, &body); err != nil {
		return err
	}
	run, err := s.Demo.Lock.Run(r.Context(), body.Pause)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, run)
}
