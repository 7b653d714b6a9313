package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/redstart-go/redstart/service/internal/demo"
	"github.com/redstart-go/redstart/service/internal/local"
)

// addDemo adds the controls and the live charts of the page. Without a demo these paths do not
// exist.
func (s *server) addDemo(mux *http.ServeMux) {
	if s.Demo == nil {
		return
	}
	for pattern, handler := range map[string]http.Handler{
		"GET /demo/live":     http.HandlerFunc(s.watchDemo), // without handle, because a stream has no time limit
		"POST /demo/traffic": s.handle(s.setTraffic),
		"POST /demo/redis":   s.handle(s.setRedis),
	} {
		mux.Handle(pattern, local.Only(handler, errNotLocal))
	}
	stories := map[string]handler{"GET /demo/limit": s.storyCounts, "POST /demo/events/poison": s.storyPoison}
	mux.Handle("POST /demo/limit/request", local.Only(s.Demo.Limit.Handler(s.handle(s.storyServed)), errNotLocal))
	if s.Demo.Cache != nil {
		stories["POST /demo/cache/read"] = s.storyRead
		stories["POST /demo/cache/rename"] = s.storyRename
		stories["POST /demo/cache/readers"] = s.storyReaders
	}
	if s.Demo.Session != nil {
		stories["POST /demo/session/revoke"] = s.storyRevoke
		stories["POST /demo/session/steal"] = s.storySteal
	}
	if s.Demo.Lock != nil {
		stories["POST /demo/lock/run"] = s.storyRun
	}
	for pattern, story := range stories {
		mux.Handle(pattern, local.Only(s.handle(story), errNotLocal))
	}
}

var errNotLocal = newProblem(http.StatusForbidden,
	"the demo accepts only requests of this machine that name this machine: open http://localhost or http://127.0.0.1")

// withConsole serves the console next to the shop: without sessions and rate limits, so that it
// works during an outage, and outside the charts of the shop.
func (s *server) withConsole(next http.Handler) http.Handler {
	if s.Console == nil {
		return next
	}
	console := s.recovered(local.Only(s.Console, errNotLocal))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/console" || strings.HasPrefix(r.URL.Path, "/console/") {
			console.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// thisMachine refuses, in a demo, requests that name another host or come from another host,
// because the login of the sample data is public. Without a demo it accepts all hosts.
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

// measured counts requests for the live charts.
func (s *server) measured(next http.Handler) http.Handler {
	if s.Demo == nil {
		return next
	}
	return s.Demo.Meter.Measure(next)
}

// watchDemo streams one sample per second as server-sent events, until the browser disconnects or
// the shop shuts down.
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
	_ = s.Demo.Watch(ctx, func(sample demo.Sample) error { // an error means that the browser has disconnected
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

// setTraffic starts virtual users, or stops them with 0 users. They have accounts of their own.
func (s *server) setTraffic(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Users   int `json:"users"`
		Seconds int `json:"seconds"`
	}
	if err := decode(w, r, &body); err != nil {
		return err
	}
	if body.Users < 0 || body.Users > demo.MaxUsers {
		return newProblem(http.StatusUnprocessableEntity, "users must be 0 to %d", demo.MaxUsers)
	}
	if body.Users > 0 && (body.Seconds < 1 || body.Seconds > demo.MaxSeconds) {
		return newProblem(http.StatusUnprocessableEntity, "seconds must be 1 to %d", demo.MaxSeconds)
	}
	if err := s.Demo.StartTraffic(r.Context(), body.Users, time.Duration(body.Seconds)*time.Second); err != nil {
		return err
	}
	users, _ := s.Demo.Traffic.Users()
	return writeJSON(w, http.StatusOK, map[string]int{"users": users})
}

// setRedis stops and restores the Redis of the shop.
func (s *server) setRedis(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		State string `json:"state"`
	}
	if err := decode(w, r, &body); err != nil {
		return err
	}
	if s.Demo.Outage == nil {
		return newProblem(http.StatusConflict, "this shop can't stop its Redis")
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
