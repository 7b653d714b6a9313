package events_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// BenchmarkSSEResume measures one client that resumes and receives 10 events of its channel. The
// log has 5,000 events, and another stream keeps the index in memory.
func BenchmarkSSEResume(b *testing.B) {
	client := open(b, rig.Shared(b).URL(), rig.Prefix(b))
	bus := durable(b, client, events.DurableOptions{Partitions: 1, Retention: time.Hour})
	streams, err := bus.SSE(func(r *http.Request) (string, error) { return r.URL.Query().Get("c"), nil }, events.SSEOptions{})
	must(b, err)
	var start events.Receipt
	must(b, notes.Publish(b.Context(), bus, "start", note{}, events.Into(&start)))
	var batch events.Batch
	for i := range 5000 {
		notes.AddToBatch(&batch, fmt.Sprint("c", i%500), note{N: i, Text: strings.Repeat("x", 200)})
	}
	must(b, bus.PublishBatch(b.Context(), &batch))
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	resume := func(c int) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		w := &countingWriter{header: http.Header{}, want: 10, enough: cancel}
		streams.ServeHTTP(w, httptest.NewRequest(http.MethodGet,
			fmt.Sprint("/?c=c", c, "&position=", start.Position), nil).WithContext(ctx))
	}
	go streams.ServeHTTP(&countingWriter{header: http.Header{}, want: 1 << 30},
		httptest.NewRequest(http.MethodGet, "/?c=idle", nil).WithContext(ctx))
	resume(0)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		resume(n % 500)
	}
}

// countingWriter ends its request after a number of events.
type countingWriter struct {
	header http.Header
	got    int
	want   int
	enough func()
}

func (w *countingWriter) Header() http.Header { return w.header }
func (w *countingWriter) WriteHeader(int)     {}
func (w *countingWriter) Flush()              {}
func (w *countingWriter) Write(p []byte) (int, error) {
	if w.got += strings.Count(string(p), "\nevent: "); w.got >= w.want && w.enough != nil {
		w.enough()
	}
	return len(p), nil
}
