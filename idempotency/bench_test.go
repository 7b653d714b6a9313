package idempotency_test

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/redstart-go/redstart/idempotency"
	"github.com/redstart-go/redstart/internal/rig"
)

// BenchmarkMiddleware measures requests of 64 goroutines per processor: without the middleware as
// the control, without a key, an execution, and a replay.
func BenchmarkMiddleware(b *testing.B) {
	server := rig.Standalone(b)
	client := open(b, server.URL(), "app")
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte(`{"id":42}`))
	})
	e := newExecutor(b, client, idempotency.Options{})
	var n atomic.Int64
	for _, c := range []struct {
		name string
		h    http.Handler
		key  func() string
	}{
		{"control", handler, func() string { return "k" }},
		{"no key", e.Middleware(handler), func() string { return "" }},
		{"execution", e.Middleware(handler), func() string { return fmt.Sprint(n.Add(1)) }},
		{"replay", e.Middleware(handler), func() string { return "k" }},
	} {
		b.Run(c.name, func(b *testing.B) {
			before := server.CommandStats()["evalsha"]
			b.SetParallelism(64)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if w := (request{key: c.key(), body: "{}"}).to(c.h); w.Code != http.StatusCreated {
						b.Error(w.Code)
						return
					}
				}
			})
			b.ReportMetric(float64(server.CommandStats()["evalsha"]-before)/float64(b.N), "round-trips/op")
		})
	}
}

// The costs that the documentation of the package states: round trips and memory on the server.
func TestCosts(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	e := newExecutor(t, open(t, server.URL(), "app"), idempotency.Options{})
	h := e.Middleware(&orders{})
	request{key: "warm"}.to(h) // the server learns the scripts
	for _, c := range []struct {
		what string
		q    request
		want int64
	}{
		{"an execution", request{key: "k"}, 2},
		{"a replay", request{key: "k"}, 1},
		{"another request", request{key: "k", body: "x"}, 1},
		{"no key", request{}, 0},
		{"a malformed key", request{key: `a"b`}, 0},
	} {
		before := server.CommandStats()["evalsha"]
		c.q.to(h)
		if got := server.CommandStats()["evalsha"] - before; got != c.want {
			t.Errorf("%s: %d round trips, want %d", c.what, got, c.want)
		}
	}
	if got := server.CLI("MEMORY", "USAGE", e.KeyOnServer("", "k")); len(got) != 3 || got > "420" {
		t.Errorf("a result with an empty body takes %s bytes", got)
	}
}
