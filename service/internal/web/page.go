package web

import (
	"bytes"
	_ "embed"
	"errors"
	"html/template"
	"net/http"
	"strconv"
	"time"

	"github.com/redstart-go/redstart/service/internal/shop"
	"github.com/redstart-go/redstart/service/internal/store"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// page shows a user, where the answer came from and how long it took. ?user=2 shows another.
func (s *server) page(w http.ResponseWriter, r *http.Request) error {
	view := struct {
		ID     int64
		User   shop.User
		Found  bool
		Source shop.Source
		Took   string // milliseconds
		Engine string

		Latency time.Duration // that a demo adds to each statement
		Near    int           // users that a demo's near cache holds
		Demo    bool          // live figures and controls
		Outage  bool          // Redis can be stopped from the page

		LoggedIn string // "true", "false": a visitor's page does not ask who he is; "unknown": Redis does not answer
	}{
		ID: 1, Engine: s.Engine, Latency: s.DatabaseLatency, Near: s.NearUsers, Demo: s.Demo != nil, Outage: s.Demo != nil && s.Demo.Outage != nil,
		LoggedIn: s.visitor(r),
	}
	asked := r.URL.Query().Get("user")
	if asked != "" {
		id, err := strconv.ParseInt(asked, 10, 64)
		if err != nil || id < 1 {
			return newProblem(http.StatusBadRequest, "a user's id is a whole number from 1 on")
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
	_, _ = html.WriteTo(w) // an error means that the browser is gone
	return nil
}

// visitor says whether who asks is logged in.
func (s *server) visitor(r *http.Request) string {
	who := s.Shop.Sessions.FromContext(r.Context())
	if who.Degraded() {
		return "unknown"
	}
	return strconv.FormatBool(who.User() != "")
}
