package idempotency_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/idempotency"
	"github.com/redstart-go/redstart/internal/rig"
)

// Each part of a request is in its fingerprint, and parts do not run into each other. The same
// request through another instance or an alias gets the stored result.
func TestI3_TheFingerprintOfARequest(t *testing.T) {
	t.Parallel()
	h := newExecutor(t, open(t, rig.Embedded(t).URL(), "app"), idempotency.Options{}).Middleware(&orders{})
	first := request{method: "POST", target: "/orders/1?a=b", key: "k", body: "body"}
	if w := first.to(h); w.Code != http.StatusCreated {
		t.Fatalf("%d", w.Code)
	}
	for name, change := range map[string]func(*request){
		"method":   func(q *request) { q.method = "PATCH" },
		"path":     func(q *request) { q.target = "/orders/2?a=b" },
		"query":    func(q *request) { q.target = "/orders/1?a=c" },
		"boundary": func(q *request) { q.target, q.body = "/orders/1?a=bb", "ody" },
		"body":     func(q *request) { q.body = "bodY" },
		"empty":    func(q *request) { q.body = "" },
		"longer":   func(q *request) { q.body = "body2" },
	} {
		q := first
		change(&q)
		if w := q.to(h); w.Code != http.StatusUnprocessableEntity {
			t.Errorf("another %s: %d %s", name, w.Code, w.Body)
		}
	}
	for _, instance := range []string{"", "http://127.0.0.1:8081", "https://alias.example"} {
		q := first
		q.target = instance + first.target
		if w := q.to(h); w.Code != http.StatusCreated || w.Header().Get("Idempotent-Replayed") == "" {
			t.Errorf("the same request through %q: %d %v", instance, w.Code, w.Header())
		}
	}
}

// endlessBody never ends, and counts what was read.
type endlessBody struct{ read int64 }

func (b *endlessBody) Read(p []byte) (int, error) {
	b.read += int64(len(p))
	return len(p), nil
}

func (b *endlessBody) Close() error { return nil }

// brokenBody ends with an error.
type brokenBody struct{ io.Reader }

func (brokenBody) Close() error { return nil }

// A body is read up to the limit, whatever length the client announces. It does not cost the memory
// of the announced length.
func TestI3_TheBodyIsBounded(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	client := open(t, rig.Embedded(t).URL(), "app")
	o := &orders{}
	h := newExecutor(t, client, idempotency.Options{MaxRequestBytes: limit}).Middleware(o)
	body := &endlessBody{}
	r := request{key: "endless"}.build()
	r.Body, r.ContentLength = body, -1
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	wantCode(t, w, http.StatusRequestEntityTooLarge, "body-too-large")
	if body.read > limit+64<<10 {
		t.Errorf("read %d bytes of a body with the limit %d", body.read, limit)
	}

	r = request{key: "announced"}.build()
	r.Body, r.ContentLength = body, limit+1
	w = httptest.NewRecorder()
	h.ServeHTTP(w, r)
	wantCode(t, w, http.StatusRequestEntityTooLarge, "body-too-large")

	for name, reader := range map[string]io.ReadCloser{
		"early": brokenBody{io.MultiReader(strings.NewReader("part"), failingReader{})},
		"late":  brokenBody{io.MultiReader(strings.NewReader(strings.Repeat("b", limit)), failingReader{})},
	} {
		r = request{key: name}.build()
		r.Body, r.ContentLength = reader, -1
		w = httptest.NewRecorder()
		h.ServeHTTP(w, r)
		wantCode(t, w, http.StatusBadRequest, "body-unreadable")
	}
	r = request{key: "outer"}.build()
	r.Body = http.MaxBytesReader(nil, io.NopCloser(strings.NewReader("12345")), 4)
	w = httptest.NewRecorder()
	h.ServeHTTP(w, r)
	wantCode(t, w, http.StatusRequestEntityTooLarge, "body-too-large")
	if n := o.executed.Load(); n != 0 {
		t.Errorf("%d executions", n)
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errors.New("the client has disconnected") }

// Clients announce the longest body and send nothing. The memory does not grow by that length.
func TestI3_AnAnnouncedBodyCostsNoMemory(t *testing.T) {
	if !rig.Alone(t) {
		return
	}
	const limit, clients = 64 << 20, 16
	h := newExecutor(t, open(t, rig.Embedded(t).URL(), "app"), idempotency.Options{MaxRequestBytes: limit}).Middleware(&orders{})
	allocated := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.TotalAlloc
	}
	before := allocated()
	for range clients {
		r := request{key: "k"}.build()
		r.Body, r.ContentLength = brokenBody{failingReader{}}, limit
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	if grown := allocated() - before; grown > clients*limit/16 {
		t.Errorf("%d requests without a body allocated %d bytes", clients, grown)
	}
}
