package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/redstart-go/redstart/service/internal/demo"
	"github.com/redstart-go/redstart/service/internal/local"
)

// addDemo adds the controls and the live figures of the page; without a demo these addresses do not exist.
func (s *server) addDemo(mux *http.ServeMux) {
	if s.Demo == nil {
		return
	}
	for pattern, handler := range map[string]http.Handler{
		"GET /demo/live":     http.HandlerFunc(s.watchDemo), // no handle: it has no end
		"POST /demo/traffic": s.handle(s.setTraffic),
		"POST /demo/redis":   s.handle(s.setRedis),
	} {
		mux.Handle(pattern, local.Only(handler, errNotLocal))
	}
}

var errNotLocal = newProblem(http.StatusForbidden, "the demo answers requests that come from this machine and name it: open http://localhost or http://127.0.0.1")

// thisMachine refuses, in a demo, what names another host or comes from one: the sample login is public. Without a demo all hosts are served.
func (s *server) thisMachine(next http.Handler) http.Handler {
	if s.Demo == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !local.Peer(r) || !local.Host(r) {
			errNotLocal.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// measured counts requests for the live figures.
func (s *server) measured(next http.Handler) http.Handler {
	if s.Demo == nil {
		return next
	}
	return s.Demo.Meter.Measure(next)
}

// watchDemo streams a sample per second as server-sent events, until the browser leaves or the shop shuts down.
func (s *server) watchDemo(w http.ResponseWriter, r *http.Request) {
	out := http.NewResponseController(w)
	if err := out.SetWriteDeadline(time.Time{}); err != nil {
		newProblem(http.StatusInternalServerError, "").write(w)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	if out.Flush() != nil {
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if s.Ending != nil {
		defer context.AfterFunc(s.Ending, cancel)()
	}
	_ = s.Demo.Watch(ctx, func(sample demo.Sample) error { // an error means that the browser is gone
		data, err := json.Marshal(sample)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "data: %s\n\n", data); err != nil {
			return err
		}
		return out.Flush()
	})
}

// setTraffic starts or, with 0 users, stops virtual users, who act as whoever asks.
func (s *server) setTraffic(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Users   int `json:"users"`
		Seconds int `json:"seconds"`
	}
	if err := decode(w, r, &body); err != nil {
		return err
	}
	if body.Users < 0 || body.Users > demo.MaxUsers {
		return newProblem(http.StatusUnprocessableEntity, "users must be between 0 and %d", demo.MaxUsers)
	}
	if body.Users > 0 && (body.Seconds < 1 || body.Seconds > demo.MaxSeconds) {
		return newProblem(http.StatusUnprocessableEntity, "seconds must be between 1 and %d", demo.MaxSeconds)
	}
	s.Demo.Traffic.Start(body.Users, time.Duration(body.Seconds)*time.Second, r.Cookies())
	users, _ := s.Demo.Traffic.Users()
	return writeJSON(w, http.StatusOK, map[string]int{"users": users})
}

// setRedis stops and resumes the Redis behind the shop.
func (s *server) setRedis(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		State string `json:"state"`
	}
	if err := decode(w, r, &body); err != nil {
		return err
	}
	if s.Demo.Outage == nil {
		return newProblem(http.StatusConflict, "this shop does not control its Redis")
	}
	switch body.State {
	case "stop":
		s.Demo.Outage.Stop()
	case "resume":
		s.Demo.Outage.Resume()
	default:
		return newProblem(http.StatusUnprocessableEntity, "state must be stop or resume")
	}
	stopped, _ := s.Demo.Outage.Stopped()
	return writeJSON(w, http.StatusOK, map[string]bool{"stopped": stopped})
}
