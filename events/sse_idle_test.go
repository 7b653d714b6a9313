package events_test

import (
	"bytes"
	"context"
	"math"
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

// idleWriter counts the events of a stream and keeps no bytes. With held, each write waits until
// held is closed, like a write to a client that does not read.
type idleWriter struct {
	header http.Header
	here   *atomic.Int64 // streams that have started
	events *atomic.Int64
	stale  *atomic.Int64 // nil: not counted
	held   chan struct{}
}

func (w *idleWriter) Header() http.Header { return w.header }
func (w *idleWriter) WriteHeader(int)     {}
func (w *idleWriter) Flush()              {}
func (w *idleWriter) Write(p []byte) (int, error) {
	w.here.Add(int64(bytes.Count(p, []byte(": here"))))
	if w.stale != nil {
		w.stale.Add(int64(bytes.Count(p, []byte("event: stale"))))
	}
	n := int64(bytes.Count(p, []byte("event: note")))
	w.events.Add(n)
	if n > 0 && w.held != nil {
		<-w.held
	}
	return len(p), nil
}

// memory returns what the process uses after a garbage collection.
func memory() (m runtime.MemStats) {
	runtime.GC()
	runtime.GC() // releases the contents of sync.Pool
	runtime.ReadMemStats(&m)
	return m
}

// inUse returns the bytes of the heap and the stacks after a garbage collection.
func inUse() int64 {
	m := memory()
	return int64(m.HeapAlloc + m.StackInuse)
}

// streams serves n requests until stop is called. The counters here and got count the streams and
// their events.
func streams(t *testing.T, handler http.Handler, n int, held chan struct{}) (here, got *atomic.Int64, stop func()) {
	t.Helper()
	here, got = new(atomic.Int64), new(atomic.Int64)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			handler.ServeHTTP(&idleWriter{header: http.Header{}, here: here, events: got, held: held},
				httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
		})
	}
	rig.Eventually(t, 60*time.Second, "all streams", func() bool { return here.Load() == int64(n) })
	return here, got, func() { cancel(); wg.Wait() }
}

// An idle stream has the goroutine of its request, whose stack is small, and a few KiB of the heap.
// It has sent large events and holds none of them. The test measures the process, so it is not
// parallel.
func TestSSEIdleStreamHoldsNoEvent(t *testing.T) {
	rig.Need(t, rig.TierAll)
	const n, large, size = 1000, 2, 1<<20 - 1024
	bus := durable(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)),
		events.DurableOptions{Partitions: 1, Retention: time.Hour, MaxBytes: 2 << 20})
	handler, err := bus.SSE(everybody, events.SSEOptions{})
	must(t, err)
	_, _, stopOne := streams(t, handler, 1, nil) // the tail runs
	defer stopOne()

	heap, stack, goroutines := int64(math.MaxInt64), int64(math.MaxInt64), math.MaxInt
	for range 3 { // what other tests have left may grow in the meantime
		before, running := memory(), runtime.NumGoroutine()
		_, _, stop := streams(t, handler, n, nil)
		after := memory()
		heap = min(heap, (int64(after.HeapAlloc)-int64(before.HeapAlloc))/n)
		stack = min(stack, (int64(after.StackInuse)-int64(before.StackInuse))/n)
		goroutines = min(goroutines, runtime.NumGoroutine()-running)
		stop()
	}
	_, got, stop := streams(t, handler, n, nil)
	defer stop()

	sent := int64(0)
	publish := func(text string) {
		must(t, notes.Publish(t.Context(), bus, "a", note{Text: text}))
		sent += n
		rig.Eventually(t, 60*time.Second, "the event on every stream", func() bool { return got.Load() >= sent })
	}
	atRest := inUse()
	publish("small")
	for range large {
		publish(strings.Repeat("x", size))
	}
	grown := (inUse() - atRest) / n
	t.Logf("an idle stream holds %d bytes of the heap and %d of stacks, and %d more after %d events of %d bytes",
		heap, stack, grown, large, size)
	if heap > 4<<10 {
		t.Errorf("an idle stream holds %d bytes of the heap, want at most 4 KiB", heap)
	}
	if stack > 12<<10 { // sizes of stacks are powers of two: 4 KiB, with the race detector 8 KiB
		t.Errorf("the stack of an idle stream has %d bytes, want at most 8 KiB", stack)
	}
	if goroutines > n+n/10 {
		t.Errorf("%d idle streams have %d goroutines, want one each", n, goroutines)
	}
	if grown > size/64 {
		t.Errorf("an idle stream holds %d bytes more after events of %d bytes, want at most a 64th of one", grown, size)
	}
}

// Clients that do not read share the text of an event, so many clients need about as much memory as
// one.
func TestSSESlowClientsShareAnEvent(t *testing.T) {
	rig.Need(t, rig.TierAll)
	const n, size = 500, 1<<20 - 1024
	bus := durable(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)),
		events.DurableOptions{Partitions: 1, Retention: time.Hour, MaxBytes: 2 << 20})
	handler, err := bus.SSE(everybody, events.SSEOptions{})
	must(t, err)
	slow := func(n int) int64 {
		held := make(chan struct{})
		_, got, stop := streams(t, handler, n, held)
		defer stop()
		defer close(held)
		before := inUse()
		for range 8 {
			must(t, notes.Publish(t.Context(), bus, "a", note{Text: strings.Repeat("x", size)}))
		}
		rig.Eventually(t, 60*time.Second, "every client has an event", func() bool { return got.Load() >= int64(n) })
		return inUse() - before
	}
	one := slow(1)
	many := slow(n)
	t.Logf("a client that does not read holds %d bytes, %d clients hold %d", one, n, many)
	if each := (many - one) / n; each > size/16 {
		t.Errorf("each further client that does not read holds %d bytes, want at most a 16th of an event of %d bytes", each, size)
	}
}

// After an event is rendered, the partition holds its text, and no second copy of its body.
func TestSSEEventIsHeldOnce(t *testing.T) {
	t.Parallel()
	const n, size = 20, 10 << 10
	bus := durable(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), events.DurableOptions{Partitions: 1, Retention: time.Hour})
	handler, err := bus.SSE(everybody, events.SSEOptions{})
	must(t, err)
	server := httptest.NewServer(handler)
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream := browse(t, ctx, server.URL, "")
	for i := range n {
		must(t, notes.Publish(t.Context(), bus, "a", note{N: i, Text: strings.Repeat("x", size)}))
	}
	for range n {
		next(t, stream)
	}
	if held := bus.TailBytes("a"); held < n*size || held > n*size*3/2 {
		t.Errorf("the partition holds %d bytes of %d events of %d bytes, want each event once", held, n, size)
	}
}
