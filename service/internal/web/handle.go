package web

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// requestTimeout bounds the time of a request.
const requestTimeout = 10 * time.Second

// handler responds to a request, or returns an error before it has written anything.
type handler func(w http.ResponseWriter, r *http.Request) error

// handle responds with a problem if the handler returns an error.
func (s *server) handle(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		if err := h(w, r.WithContext(ctx)); err != nil {
			s.fail(w, r, err)
		}
	})
}

// fail responds with the part of an error that clients may see.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(r.Context().Err(), context.Canceled) { // the client has disconnected
		return
	}
	p := problemOf(err)
	if p.Status >= http.StatusInternalServerError {
		// One message per status: the log sampler counts per message, and the 503s of an outage
		// must not hide a 500.
		text := "shop: request failed"
		if p.Status == http.StatusServiceUnavailable {
			text = "shop: request refused, a dependency does not answer"
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
	_, _ = w.Write(append(body, '\n')) // an error means that the client has disconnected
	return nil
}
