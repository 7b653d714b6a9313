// Package httpsuite runs one behaviour suite on the adapter of each HTTP framework: the middlewares
// of Redstart do the same in the framework as in net/http.
package httpsuite

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/idempotency"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/session"
)

// Route is a handler of a framework behind a middleware of net/http.
type Route struct {
	Method, Path string
	Middleware   func(http.Handler) http.Handler
	Handle       func(ctx context.Context, body string) Reply
}

// Reply is what a handler answers: Status and Body, or an error with Status in the way of the
// framework.
type Reply struct {
	Status int
	Body   string // sent as it is; "": no body
	Fails  bool   // the handler returns an error of the framework
}

// Framework returns a server with routes. The framework answers a panic of a handler with 500.
type Framework func(routes []Route) http.Handler

// Run runs the suite.
func Run(t *testing.T, build Framework) {
	client := rigclient.Open(t, rig.Embedded(t).URL(), "app")
	for name, behaviour := range map[string]func(*testing.T, *redstart.Client, Framework){
		"sessions": sessions, "limits": limits, "permits": permits, "idempotency": executions, "panics": panics,
	} {
		t.Run(name, func(t *testing.T) { behaviour(t, client, build) })
	}
}

func send(h http.Handler, method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func must[T any](t *testing.T) func(value T, err error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// sessions: a login in a handler sends its cookie, also if the handler then fails. The next request
// has the user.
func sessions(t *testing.T, client *redstart.Client, build Framework) {
	m := must[*session.Manager[struct{}]](t)(session.New[struct{}](client, "web", session.Options{}))
	login := func(reply Reply) func(context.Context, string) Reply {
		return func(ctx context.Context, body string) Reply {
			if err := m.Login(ctx, body); err != nil {
				t.Error(err)
			}
			return reply
		}
	}
	h := build([]Route{
		{"POST", "/login", m.Middleware, login(Reply{Status: http.StatusNoContent})},
		{"POST", "/fails", m.Middleware, login(Reply{Status: http.StatusTeapot, Fails: true})},
		{"GET", "/me", m.Middleware, func(ctx context.Context, _ string) Reply {
			return Reply{Status: http.StatusOK, Body: "user " + m.FromContext(ctx).User()}
		}},
	})
	for path, status := range map[string]int{"/login": http.StatusNoContent, "/fails": http.StatusTeapot} {
		w := send(h, "POST", path, "ada")
		cookies := w.Result().Cookies()
		if w.Code != status || len(cookies) != 1 {
			t.Fatalf("%s: %d %v", path, w.Code, w.Header())
		}
		if w := send(h, "GET", "/me", "", "Cookie", cookies[0].Name+"="+cookies[0].Value); w.Body.String() != "user ada" {
			t.Errorf("after %s: %d %s", path, w.Code, w.Body)
		}
	}
	if w := send(h, "GET", "/me", ""); w.Body.String() != "user " || w.Header().Get("Vary") != "Cookie" {
		t.Errorf("a visitor: %d %s %v", w.Code, w.Body, w.Header())
	}
}

// limits: a refused request is 429 with Retry-After, and its handler does not run. Each route is
// its own key.
func limits(t *testing.T, client *redstart.Client, build Framework) {
	l := must[*ratelimit.Limiter](t)(ratelimit.New(client, "api", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(1)}}))
	var ran atomic.Int64
	handle := func(context.Context, string) Reply {
		ran.Add(1)
		return Reply{Status: http.StatusOK, Body: "ok"}
	}
	limit := l.Middleware(ratelimit.Route(nil))
	h := build([]Route{{"GET", "/a", limit, handle}, {"GET", "/b", limit, handle}})
	for _, path := range []string{"/a", "/b"} {
		if w := send(h, "GET", path, ""); w.Code != http.StatusOK || w.Body.String() != "ok" || w.Header().Get("Ratelimit") == "" {
			t.Errorf("%s: %d %v %s", path, w.Code, w.Header(), w.Body)
		}
		w := send(h, "GET", path, "")
		if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" ||
			w.Header().Get("Content-Type") != "application/problem+json" || !strings.Contains(w.Body.String(), `"status":429`) {
			t.Errorf("%s again: %d %v %s", path, w.Code, w.Header(), w.Body)
		}
	}
	if n := ran.Load(); n != 2 {
		t.Errorf("%d handlers ran, want 2", n)
	}
}

// permits: a permit is held until the handler has returned.
func permits(t *testing.T, client *redstart.Client, build Framework) {
	c := must[*ratelimit.Concurrency](t)(ratelimit.NewConcurrency(client, "c", ratelimit.ConcurrencyOptions{Limit: 1, TTL: time.Hour}))
	began, end := make(chan struct{}, 1), make(chan struct{})
	h := build([]Route{{"GET", "/slow", c.Middleware(ratelimit.Route(nil)), func(context.Context, string) Reply {
		began <- struct{}{}
		<-end
		return Reply{Status: http.StatusOK}
	}}})
	first := make(chan int, 1)
	go func() { first <- send(h, "GET", "/slow", "").Code }()
	<-began
	if w := send(h, "GET", "/slow", ""); w.Code != http.StatusTooManyRequests {
		t.Errorf("a second request: %d", w.Code)
	}
	close(end)
	if code := <-first; code != http.StatusOK {
		t.Errorf("the first request: %d", code)
	}
	if w := send(h, "GET", "/slow", ""); w.Code != http.StatusOK {
		t.Errorf("after the first request: %d", w.Code)
	}
}

// executions: status, header and body of any response are replayed, also of an error of the
// framework.
func executions(t *testing.T, client *redstart.Client, build Framework) {
	e := must[*idempotency.Executor](t)(idempotency.New(client, "orders", idempotency.Options{Scope: idempotency.OneScope}))
	var ran atomic.Int64
	replies := map[string]Reply{
		"created": {Status: http.StatusCreated, Body: "order"},
		"empty":   {Status: http.StatusAccepted},
		"error":   {Status: http.StatusTeapot, Body: "no tea", Fails: true},
	}
	h := build([]Route{{"POST", "/orders", e.Middleware, func(_ context.Context, body string) Reply {
		n := ran.Add(1)
		reply := replies[body]
		if reply.Body != "" {
			reply.Body += strconv.FormatInt(n, 10)
		}
		return reply
	}}})
	for body, reply := range replies {
		ran.Store(0)
		first := send(h, "POST", "/orders", body, "Idempotency-Key", strconv.Quote(body))
		again := send(h, "POST", "/orders", body, "Idempotency-Key", strconv.Quote(body))
		if first.Code != reply.Status || again.Code != reply.Status || first.Body.String() != again.Body.String() ||
			first.Header().Get("Content-Type") != again.Header().Get("Content-Type") ||
			!strings.Contains(first.Body.String(), reply.Body) ||
			again.Header().Get("Idempotent-Replayed") != "true" {
			t.Errorf("%s: first %d %v %q, again %d %v %q", body, first.Code, first.Header(), first.Body,
				again.Code, again.Header(), again.Body)
		}
		if n := ran.Load(); n != 1 {
			t.Errorf("%s: the handler ran %d times", body, n)
		}
	}
	if w := send(h, "POST", "/orders", "other", "Idempotency-Key", `"created"`); w.Code != http.StatusUnprocessableEntity {
		t.Errorf("another body with the key: %d %s", w.Code, w.Body)
	}
	r := httptest.NewRequest("POST", "/orders", strings.NewReader("created"))
	r.Header["Idempotency-Key"] = []string{`"created"`, `"created"`}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusBadRequest {
		t.Errorf("two keys: %d %s", w.Code, w.Body)
	}
}

// panics: the framework answers the panic of a handler with 500, as without a middleware. The key
// is free, and nothing of the failed execution is sent.
func panics(t *testing.T, client *redstart.Client, build Framework) {
	e := must[*idempotency.Executor](t)(idempotency.New(client, "panics", idempotency.Options{Scope: idempotency.OneScope}))
	l := must[*ratelimit.Limiter](t)(ratelimit.New(client, "panics", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(9)}}))
	m := must[*session.Manager[struct{}]](t)(session.New[struct{}](client, "panics", session.Options{}))
	fails := true
	handle := func(context.Context, string) Reply {
		if fails {
			panic("a defect of the handler")
		}
		return Reply{Status: http.StatusCreated, Body: "order"}
	}
	var routes []Route
	for path, middleware := range map[string]func(http.Handler) http.Handler{
		"/executor": e.Middleware, "/limit": l.Middleware(ratelimit.Route(nil)), "/session": m.Middleware,
	} {
		routes = append(routes, Route{"POST", path, middleware, handle})
	}
	h := build(routes)
	for _, route := range routes {
		for _, want := range []int{http.StatusInternalServerError, http.StatusCreated} {
			fails = want == http.StatusInternalServerError
			if w := send(h, "POST", route.Path, "x", "Idempotency-Key", `"k"`); w.Code != want {
				t.Errorf("%s: %d %s, want %d", route.Path, w.Code, w.Body, want)
			}
		}
	}
}
