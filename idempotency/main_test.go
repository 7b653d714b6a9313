package idempotency_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/idempotency"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

func TestMain(m *testing.M) {
	rig.RegisterRole("executor", executorRole)
	rig.Main(m)
}

var open = rigclient.Open

// shared returns a client of the shared standalone server, with its own namespace.
func shared(t testing.TB) *redstart.Client {
	t.Helper()
	return open(t, rig.Shared(t).URL(), rig.Prefix(t))
}

// newExecutor returns an executor with the name of the test. It has one scope, unless opts has
// another.
func newExecutor(t testing.TB, client *redstart.Client, opts idempotency.Options) *idempotency.Executor {
	t.Helper()
	if opts.Scope == nil {
		opts.Scope = idempotency.OneScope
	}
	e, err := idempotency.New(client, t.Name(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// request is a request to a handler. An empty key is no key.
type request struct {
	method, target, key, body string
	header                    http.Header
}

func (q request) build() *http.Request {
	if q.method == "" {
		q.method = http.MethodPost
	}
	if q.target == "" {
		q.target = "/orders"
	}
	r := httptest.NewRequest(q.method, q.target, strings.NewReader(q.body))
	for name, values := range q.header {
		r.Header[name] = values
	}
	if q.key != "" {
		r.Header.Set("Idempotency-Key", `"`+q.key+`"`)
	}
	return r
}

func (q request) to(h http.Handler) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, q.build())
	return w
}

// orders is a handler that counts its executions. It answers 201 with the number of the execution
// and the body of the request.
type orders struct{ executed atomic.Int64 }

func (o *orders) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := o.executed.Add(1)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Location", "/orders/1")
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, strings.Repeat("#", int(n))+string(body))
}

// blocking is a handler that reports its begin and waits.
type blocking struct {
	began chan *http.Request
	end   chan http.HandlerFunc
}

func newBlocking() *blocking {
	return &blocking{began: make(chan *http.Request, 1), end: make(chan http.HandlerFunc)}
}

func (b *blocking) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.began <- r
	(<-b.end)(w, r)
}

// inBackground serves a request on a goroutine. The channel has the answer.
func inBackground(h http.Handler, q request) <-chan *httptest.ResponseRecorder {
	done := make(chan *httptest.ResponseRecorder, 1)
	go func() { done <- q.to(h) }()
	return done
}

// wantCode fails unless an answer is a problem document with a status and a code.
func wantCode(t *testing.T, w *httptest.ResponseRecorder, status int, code string) {
	t.Helper()
	if w.Code != status || !strings.Contains(w.Body.String(), `"code":"`+code+`"`) ||
		w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("got %d %v %s, want %d with the code %s", w.Code, w.Header(), w.Body, status, code)
	}
}

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }
