package events_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// idleWriter keeps nothing of what a stream writes, and counts the events.
type idleWriter struct {
	header http.Header
	here   *atomic.Int64 // streams that have begun
	events *atomic.Int64
}

func (w *idleWriter) Header() http.Header { return w.header }
func (w *idleWriter) WriteHeader(int)     {}
func (w *idleWriter) Flush()              {}
func (w *idleWriter) Write(p []byte) (int, error) {
	w.here.Add(int64(bytes.Count(p, []byte(": here"))))
	w.events.Add(int64(bytes.Count(p, []byte("event: note"))))
	return len(p), nil
}

// heapInUse is what is in use after a collection.
func heapInUse() int64 {
	runtime.GC()
	runtime.GC() // what a sync.Pool held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A stream that has sent large events and waits holds none of them: its share of the memory is far below one event. The test measures
// the heap of the process, so it does not run in parallel.
func TestSSEIdleStreamHoldsNoEvent(t *testing.T) {
	rig.Need(t, rig.TierAll)
	const streams, large, size = 64, 2, 512 << 10
	bus := durable(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), events.DurableOptions{Partitions: 1, Retention: time.Hour, MaxBytes: 2 << 20})
	handler, err := bus.SSE(everybody, events.SSEOptions{})
	must(t, err)
	var here, got atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for range streams {
		wg.Go(func() {
			handler.ServeHTTP(&idleWriter{header: http.Header{}, here: &here, events: &got}, httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
		})
	}

	sent := int64(0)
	publish := func(text string) {
		must(t, notes.Publish(t.Context(), bus, "a", note{Text: text}))
		sent += streams
		rig.Eventually(t, 60*time.Second, "the event on every stream", func() bool { return got.Load() >= sent })
	}
	rig.Eventually(t, 30*time.Second, "all streams", func() bool { return here.Load() == streams })
	publish("small")
	small := heapInUse()
	for range large {
		publish(strings.Repeat("x", size))
	}
	grown := (heapInUse() - small) / streams
	t.Logf("an idle stream holds %d bytes more after %d events of %d bytes", grown, large, size)
	if grown > size/16 {
		t.Errorf("an idle stream holds %d bytes more after events of %d bytes, want at most a 16th of one", grown, size)
	}
}
