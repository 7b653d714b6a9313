package web

import (
	"bytes"
	"embed"
	"errors"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/redstart-go/redstart/service/internal/shop"
	"github.com/redstart-go/redstart/service/internal/store"
)

//go:embed page.html stories
var pageFiles embed.FS

var pageTemplate = template.Must(template.ParseFS(pageFiles, "page.html", "stories/*.html"))

// pageView is what the page shows.
type pageView struct {
	ID     int64
	User   shop.User
	Found  bool
	Source shop.Source
	Took   string // milliseconds
	Engine string

	Latency float64  // ms that are added to each statement in a demo
	Near    int      // users in the near cache of a demo
	Demo    bool     // whether there are live charts and controls
	Outage  bool     // whether the page can stop Redis
	Stories []string // the names of the stories of a demo

	LoggedIn string // "true"; "false": the page needs no request about the user; "unknown": Redis does not answer
}

// Story returns a story for its template, nil if the demo does not have it.
func (v pageView) Story(name string) *storyView {
	if !slices.Contains(v.Stories, name) {
		return nil
	}
	return storyOf(name)
}

// page shows a user, where the user was served from and the time. ?user=2 shows another user.
func (s *server) page(w http.ResponseWriter, r *http.Request) error {
	view := pageView{ID: 1, Engine: s.Engine, Near: s.NearUsers, LoggedIn: s.visitor(r)}
	view.Latency = float64(s.DatabaseLatency.Microseconds()) / 1000
	if s.Demo != nil {
		view.Demo, view.Outage, view.Stories = true, s.Demo.Outage != nil, s.Demo.Stories()
	}
	asked := r.URL.Query().Get("user")
	if asked != "" {
		id, err := strconv.ParseInt(asked, 10, 64)
		if err != nil || id < 1 {
			return newProblem(http.StatusBadRequest, "a user id is a whole number from 1")
		}
		view.ID = id
	}

	start := time.Now()
	user, source, err := s.Shop.User(r.Context(), view.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return err
	}
	view.User, view.Found, view.Source = s.shown(r, user), err == nil, source
	view.Took = strconv.FormatFloat(float64(time.Since(start).Microseconds())/1000, 'f', 2, 64)

	var html bytes.Buffer
	if err := pageTemplate.Execute(&html, view); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if !view.Found && asked != "" {
		w.WriteHeader(http.StatusNotFound)
	}
	_, _ = html.WriteTo(w) // an error means that the browser has disconnected
	return nil
}

// visitor returns LoggedIn for the page.
func (s *server) visitor(r *http.Request) string {
	current := s.Shop.Sessions.FromContext(r.Context())
	if current.Degraded() {
		return "unknown"
	}
	return strconv.FormatBool(current.User() != "")
}
