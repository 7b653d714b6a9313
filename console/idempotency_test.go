package console_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/console"
	"github.com/redstart-go/redstart/idempotency"
	"github.com/redstart-go/redstart/internal/rig"
)

// executor returns a function that posts a request with a key, and returns the body of its answer.
func executor(t testing.TB, client *redstart.Client, name, scope string, handler http.HandlerFunc) func(key string) string {
	t.Helper()
	e := must(idempotency.New(client, name, idempotency.Options{
		Scope: func(*http.Request) (string, error) { return scope, nil },
	}))(t)
	h := e.Middleware(handler)
	return func(key string) string {
		r := httptest.NewRequest(http.MethodPost, "/orders", strings.NewReader("an order"))
		r.Header.Set("Idempotency-Key", `"`+key+`"`)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Body.String()
	}
}

// The page shows a key while its request runs and after it. Only an operator gets the response, on
// request. A result that is forgotten is executed again, and a running execution is not forgotten.
func TestPageShowsAndForgetsIdempotencyKeys(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	began, end := make(chan struct{}), make(chan struct{})
	var executed atomic.Int64
	post := executor(t, client, "orders", hostile, func(w http.ResponseWriter, _ *http.Request) {
		began <- struct{}{}
		<-end
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, "order %d %s", executed.Add(1), hostile)
	})
	answer := make(chan string, 1)
	run := func() {
		go func() { answer <- post("k-1") }()
		<-began
	}
	key := []string{"executor", "orders", "scope", hostile, "key", "k-1"}
	page, value := "/idempotency"+query(key...), "/idempotency"+query(append(key, "value", "show")...)
	s := serve(t, client, console.Options{Mask: console.MaskNone})
	s.get("/idempotency").expect(t, "the empty page", "Show a key")
	s.get(page).expect(t, "a free key", "The key is free", shownHostile)

	run()
	s.get(page).expect(t, "a running request", "Running: an execution holds the lease", "Lease left")
	if got := s.post("/idempotency/forget", sealed(key...)); got.StatusCode != http.StatusConflict {
		t.Errorf("to forget a running request has status %d: %s", got.StatusCode, got.body)
	}
	end <- struct{}{}
	if got := <-answer; !strings.HasPrefix(got, "order 1 ") {
		t.Fatalf("the answer is %q", got)
	}

	s.get(page).expect(t, "a finished request", "Finished: a repeated request", "<dd>201</dd>", "Free in", "Show the response",
		`action="/console/idempotency/forget"`)
	s.get(value).expect(t, "the response", "order 1 &lt;script")
	for name, opts := range map[string]console.Options{
		"operator": {}, "viewer with MaskNone": {Authorize: as(console.Viewer), Mask: console.MaskNone},
	} {
		if body := serve(t, client, opts).get(value).body; strings.Contains(body, "order 1 ") {
			t.Errorf("%s: the page shows the response:\n%s", name, body)
		}
	}
	if got := s.post("/idempotency/forget", sealed(key...)); got.StatusCode != http.StatusSeeOther {
		t.Fatalf("to forget a result has status %d: %s", got.StatusCode, got.body)
	}
	s.get(page).expect(t, "a forgotten key", "The key is free")
	run()
	end <- struct{}{}
	if got := <-answer; !strings.HasPrefix(got, "order 2 ") {
		t.Errorf("after the result was forgotten, the answer is %q", got)
	}
}
