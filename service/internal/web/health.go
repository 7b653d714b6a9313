package web

import (
	"context"
	"net/http"
	"time"
)

// live says that the process serves requests. It asks nothing else: a restart would not mend a database.
func (s *server) live(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, map[string]string{"status": "live"})
}

// ready says whether requests can be answered now, so that a load balancer may send some.
func (s *server) ready(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	defer cancel()
	if err := s.Ready(ctx); err != nil {
		s.Log.WarnContext(r.Context(), "not ready", "error", err)
		return newProblem(http.StatusServiceUnavailable, "the database or the cache does not answer")
	}
	return writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
}
