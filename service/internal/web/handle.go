package web

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// requestTimeout is how long a request may work before it is given up.
const requestTimeout = 10 * time.Second

// handler answers a request, or returns an error before it has written anything.
type handler func(w http.ResponseWriter, r *http.Request) error

// handle turns a handler's error into a problem.
func (s *server) handle(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		if err := h(w, r.WithContext(ctx)); err != nil {
			s.fail(w, r, err)
		}
	})
}

// fail answers with what the client may know of an error.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(r.Context().Err(), context.Canceled) { // nobody listens any more
		return
	}
	p := problemOf(err)
	if p.Status >= http.StatusInternalServerError {
		// A text for each status: the log is thinned by text, and an outage's 503s must not hide a 500.
		text := "request failed"
		if p.Status == http.StatusServiceUnavailable {
			text = "request refused: something does not answer"
		}
		s.Log.ErrorContext(r.Context(), text, "method", r.Method, "path", r.URL.Path, "status", p.Status, "error", err)
	}
	p.write(w)
}

func writeJSON(w http.ResponseWriter, status int, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // an error means that the client is gone
	return nil
}
