package ratelimit_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/ratelimit"
)

// A request costs what Cost returns: no token, several, or more than the rules ever admit.
func TestMiddlewareCost(t *testing.T) {
	t.Parallel()
	l := limiter(t, shared(t), ratelimit.Options{Rules: []ratelimit.Rule{{Name: "r", Limit: 10, Window: year}}})
	weights := map[string]int64{"/free": 0, "/negative": -5, "/one": 1, "/seven": 7, "/huge": 1 << 62}
	handler := l.Middleware(ratelimit.ClientAddress(),
		ratelimit.Cost(func(r *http.Request) int64 { return weights[r.URL.Path] }))(ok)
	for _, c := range []struct {
		path        string
		code        int
		remaining   string
		mayBeLater  bool
		hasNoFields bool
	}{
		{"/seven", 200, "r=3", false, false}, {"/seven", 429, "r=3", true, false},
		{"/free", 200, "", false, true}, {"/one", 200, "r=2", false, false},
		{"/negative", 200, "", false, true}, {"/huge", 429, "", false, true}, {"/one", 200, "r=1", false, false},
	} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest("GET", c.path, nil))
		field := w.Header().Get("RateLimit")
		if w.Code != c.code || !strings.Contains(field, c.remaining) ||
			(w.Header().Get("Retry-After") != "") != c.mayBeLater || (field == "") != c.hasNoFields {
			t.Errorf("%s: %d %v", c.path, w.Code, w.Header())
		}
	}
}

// A response is charged by its bytes after it was sent, at most the remaining tokens, however the
// handler writes it.
func TestMiddlewareResponseCost(t *testing.T) {
	t.Parallel()
	l := limiter(t, shared(t), ratelimit.Options{Rules: []ratelimit.Rule{{Name: "bytes", Limit: 10_000,
		Window: year}}, Outage: ratelimit.FailClosed})
	statuses := make(chan int, 8)
	option := ratelimit.ResponseCost(func(_ *http.Request, status int, bytes int64) int64 {
		statuses <- status
		return bytes
	})
	server := httptest.NewServer(l.Middleware(ratelimit.By(func(r *http.Request) string { return r.URL.Path }),
		option)(http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/written":
				w.WriteHeader(http.StatusCreated)
				_, _ = io.WriteString(w, strings.Repeat("x", 1000))
				w.(http.Flusher).Flush()
				_, _ = io.WriteString(w, strings.Repeat("x", 1000))
			case "/copied", "/much":
				n := map[string]int{"/copied": 3000, "/much": 1 << 20}[r.URL.Path]
				_, _ = w.(io.ReaderFrom).ReadFrom(strings.NewReader(strings.Repeat("x", n)))
			case "/empty":
			}
		})))
	defer server.Close()
	for path, want := range map[string]struct {
		status int
		left   int64
	}{"/written": {201, 7999}, "/copied": {200, 6999}, "/empty": {200, 9999}, "/much": {200, 0}} {
		answer, err := server.Client().Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
		if got := <-statuses; got != want.status {
			t.Errorf("%s: status %d", path, got)
		}
		rig.Eventually(t, 10*time.Second, "the charge of "+path, func() bool {
			r, err := l.Peek(t.Context(), path)
			return err == nil && r.Remaining == want.left
		})
	}
	answer, err := server.Client().Get(server.URL + "/much")
	if err != nil {
		t.Fatal(err)
	}
	if _ = answer.Body.Close(); answer.StatusCode != 429 {
		t.Errorf("after a response above the limit: %d", answer.StatusCode)
	}
}

// If a handler panics, as a reverse proxy does when its client disconnects, the sent bytes are
// charged.
func TestMiddlewareResponseCostOfAPanic(t *testing.T) {
	t.Parallel()
	l := limiter(t, shared(t), ratelimit.Options{Rules: []ratelimit.Rule{{Name: "bytes", Limit: 10_000,
		Window: year}}, Outage: ratelimit.FailClosed})
	option := ratelimit.ResponseCost(func(_ *http.Request, _ int, bytes int64) int64 { return bytes })
	handler := l.Middleware(ratelimit.ClientAddress(), option)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("x", 3000))
		panic(http.ErrAbortHandler)
	}))
	func() {
		defer func() {
			if recover() != http.ErrAbortHandler {
				t.Error("the panic did not go on")
			}
		}()
		serve(handler)
	}()
	rig.Eventually(t, 10*time.Second, "the charge of what was sent", func() bool {
		r, err := l.Peek(t.Context(), "192.0.2.1")
		return err == nil && r.Remaining == 10_000-1-3000
	})
}

// Charges that wait for a slow server are bounded in number. Further charges are counted as
// degraded.
func TestMiddlewareResponseCostIsBounded(t *testing.T) {
	t.Parallel()
	proxy := rig.NewProxy(t, rig.Shared(t).Addr())
	client := open(t, proxy.URL(), rig.Prefix(t))
	l := limiter(t, client, ratelimit.Options{Rules: []ratelimit.Rule{{Name: "bytes", Limit: 1_000_000,
		Window: year}}, Outage: ratelimit.FailOpen})
	handler := l.Middleware(ratelimit.ClientAddress(), ratelimit.Cost(func(*http.Request) int64 { return 0 }),
		ratelimit.ResponseCost(func(*http.Request, int, int64) int64 { return 1 }))(ok)
	serve(handler)
	rig.Eventually(t, 10*time.Second, "the first charge", func() bool { return l.Stats().Allowed == 1 })
	proxy.Stall()
	defer proxy.Resume()
	const responses, most = 20_000, ratelimit.MaxCharges
	for range responses {
		serve(handler)
		if n := ratelimit.Charges(l); n > most {
			t.Fatalf("%d charges are under way, at most %d are allowed", n, most)
		}
	}
	if n := l.Stats().Degraded; n < responses-2*most || n > responses { // some end in the meantime
		t.Errorf("%d of %d charges were counted as dropped", n, responses)
	}
}
