package web

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"github.com/redstart-go/redstart/service/internal/demo"
)

// storyRead reads the user of the cache story through instance A or B.
func (s *server) storyRead(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Instance string `json:"instance"`
	}
	if err := decode(w, r, &body); err != nil {
		return err
	}
	if body.Instance != "A" && body.Instance != "B" {
		return newProblem(http.StatusUnprocessableEntity, "instance must be A or B")
	}
	reading, err := s.Demo.Cache.Read(r.Context(), body.Instance)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, reading)
}

// storyRename changes the name of the user of the cache story through instance A.
func (s *server) storyRename(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Name string `json:"name"`
	}
	if err := decode(w, r, &body); err != nil {
		return err
	}
	renaming, err := s.Demo.Cache.Rename(r.Context(), body.Name)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, renaming)
}

// storyReaders starts 100 readers of a new key.
func (s *server) storyReaders(w http.ResponseWriter, r *http.Request) error {
	crowd, err := s.Demo.Cache.Readers(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, crowd)
}

// storyRun processes a new order in both instances of the lock story. With pause, instance B is cut
// off from Redis while it holds the lock.
func (s *server) storyRun(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Pause bool `json:"pause"`
	}
	if err := decode(w, r, &body); err != nil {
		return err
	}
	out := &stepWriter{w: w, log: s.Log}
	written, err := s.Demo.Lock.Run(r.Context(), body.Pause, func(step demo.LockStep) { out.write(step) })
	if err == nil {
		out.write(map[string]string{"written": written})
	}
	return out.end(r.Context(), err)
}

// storyPoison publishes an event that becomes a dead letter, and redrives it.
func (s *server) storyPoison(w http.ResponseWriter, r *http.Request) error {
	out := &stepWriter{w: w, log: s.Log}
	return out.end(r.Context(), s.Demo.Events.Poison(r.Context(), func(step demo.EventStep) { out.write(step) }))
}

// stepWriter writes the steps of a story while they happen, each as a line of JSON.
type stepWriter struct {
	w     http.ResponseWriter
	log   *slog.Logger
	begun bool
	err   error // the client has disconnected
}

func (s *stepWriter) write(step any) {
	if !s.begun {
		s.begun = true
		s.w.Header().Set("Content-Type", "application/x-ndjson")
		s.w.Header().Set("Cache-Control", "no-store")
		s.w.WriteHeader(http.StatusOK)
	}
	if s.err == nil {
		if s.err = json.NewEncoder(s.w).Encode(step); s.err == nil {
			s.err = http.NewResponseController(s.w).Flush()
		}
	}
}

// end returns an error that came before the first step. A later one becomes the last line.
func (s *stepWriter) end(ctx context.Context, err error) error {
	if err == nil || !s.begun {
		return err
	}
	if errors.Is(ctx.Err(), context.Canceled) { // the client has disconnected
		return nil
	}
	s.log.ErrorContext(ctx, "shop: a story ended early", "error", err)
	p := problemOf(err)
	s.write(map[string]string{"problem": cmp.Or(p.Detail, p.Title)})
	return nil
}

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

// storyServed answers a request that the limit of the story admitted.
func (s *server) storyServed(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, map[string]bool{"served": true})
}

// storyCounts returns the requests of the rate limit story so far.
func (s *server) storyCounts(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, s.Demo.Limit.Counts())
}
