package web

import (
	"context"
	"net/http"
	"time"
)

// live reports that the process serves requests. It checks no dependency, because a restart would
// not repair one.
func (s *server) live(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, map[string]string{"status": "live"})
}

// ready reports whether the shop can serve requests now, for load balancers.
func (s *server) ready(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	defer cancel()
	if err := s.Ready(ctx); err != nil {
		s.Log.WarnContext(r.Context(), "shop: not ready", "error", err)
		return newProblem(http.StatusServiceUnavailable, "the database or Redis does not answer")
	}
	return writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
}
