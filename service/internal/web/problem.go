package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/service/internal/requestid"
	"github.com/redstart-go/redstart/service/internal/shop"
	"github.com/redstart-go/redstart/service/internal/store"
	"github.com/redstart-go/redstart/session"
)

// problem is an error response, as RFC 9457 defines it.
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	// Request is the id of the request in the log.
	Request string `json:"request_id,omitempty"`

	retryAfter int // seconds, 0 for no Retry-After header
}

func newProblem(status int, format string, args ...any) *problem {
	return &problem{Title: http.StatusText(status), Status: status, Detail: fmt.Sprintf(format, args...)}
}

func (p *problem) Error() string { return p.Title + ": " + p.Detail }

// ServeHTTP responds to every request with the problem.
func (p *problem) ServeHTTP(w http.ResponseWriter, _ *http.Request) { p.write(w) }

func (p *problem) write(w http.ResponseWriter) {
	header := w.Header()
	response := *p // some problems are shared by all requests
	response.Request = header.Get(requestid.Header)
	body, err := json.Marshal(response)
	if err != nil {
		panic(err) // strings and a number
	}
	header.Set("Content-Type", "application/problem+json")
	header.Set("Cache-Control", "no-store")
	retryAfter := p.retryAfter
	if p.Status == http.StatusServiceUnavailable {
		retryAfter = max(retryAfter, 1)
	}
	if retryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(retryAfter))
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(body) // an error means that the client has disconnected
}

// problemOf maps an error to the problem that the client gets. An unknown error is a 500 without
// detail.
func problemOf(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if invalid, ok := errors.AsType[*shop.Invalid](err); ok {
		return newProblem(http.StatusUnprocessableEntity, "%s %s", invalid.Field, invalid.Rule)
	}
	switch {
	// First, because an error can be both: a missing row, and a part that must be retried.
	case errors.Is(err, redstart.ErrUnavailable), errors.Is(err, redstart.ErrIndeterminate):
		return newProblem(http.StatusServiceUnavailable, "Redis does not answer. The request may have been executed. Try again")
	case errors.Is(err, redstart.ErrFull):
		return newProblem(http.StatusServiceUnavailable, "Redis is full and can't store new data. Try again later")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, cache.ErrLoadTimeout):
		return newProblem(http.StatusServiceUnavailable, "the request took too long. Try again")
	case errors.Is(err, shop.ErrTooManyStreams):
		return newProblem(http.StatusTooManyRequests, "you have %d open streams at this instance. Close one", shop.MaxStreams)
	case errors.Is(err, shop.ErrWrongLogin):
		return newProblem(http.StatusUnauthorized, "no user has this email address and password")
	case errors.Is(err, session.ErrNotFound): // the session ended during the request
		return errNotLoggedIn
	case errors.Is(err, store.ErrNotFound):
		return newProblem(http.StatusNotFound, "there is no such user")
	case errors.Is(err, store.ErrEmailTaken):
		return newProblem(http.StatusConflict, "another user has this email address")
	}
	return newProblem(http.StatusInternalServerError, "")
}

// problemsFor responds with a problem to requests without a handler (404, 405), instead of plain
// text.
func problemsFor(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(&refusal{ResponseWriter: w, request: r}, r)
	})
}

// refusal keeps the status and the headers of the mux, for example Allow, and replaces its text.
type refusal struct {
	http.ResponseWriter
	request *http.Request
}

func (w *refusal) WriteHeader(status int) {
	switch status {
	case http.StatusMethodNotAllowed:
		newProblem(status, "%s is not allowed here; allowed: %s", w.request.Method,
			w.Header().Get("Allow")).write(w.ResponseWriter)
	default:
		newProblem(status, "there is nothing at this path").write(w.ResponseWriter)
	}
}

func (w *refusal) Write(text []byte) (int, error) { return len(text), nil }
