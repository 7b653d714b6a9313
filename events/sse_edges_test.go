package events_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

func everybody(*http.Request) (string, error) { return "a", nil }

// Streams start on a log that does not exist, and on a log that never had an event. A client with a
// position is stale, and the first event arrives.
func TestSSEOfAnEmptyLog(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		bus := durable(t, open(t, e.URL, e.Namespace), events.DurableOptions{Partitions: 1, Retention: time.Hour})
		handler, err := bus.SSE(everybody, events.SSEOptions{})
		must(t, err)
		server := httptest.NewServer(handler)
		defer server.Close()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		streams := []<-chan sseEvent{browse(t, ctx, server.URL, "")}
		stale := []<-chan sseEvent{browse(t, ctx, server.URL, "1-1")}
		sub, _ := counting(t, bus, nil)
		run(t, sub) // its group makes the log
		streams = append(streams, browse(t, ctx, server.URL, ""))
		stale = append(stale, browse(t, ctx, server.URL, "1-1"))
		for _, s := range stale {
			if got := next(t, s); got.event != "stale" || got.id != "0-0" {
				t.Errorf("who has seen an event of an empty log got %+v", got)
			}
		}
		again := browse(t, ctx, server.URL, "0-0") // the position that the stale stream received
		must(t, notes.Publish(t.Context(), bus, "a", note{N: 1}))
		for i, s := range append(append(streams, stale...), again) {
			if got := next(t, s); got.event != "note" || !strings.HasPrefix(got.data, `{"n":1`) {
				t.Errorf("stream %d got %+v", i, got)
			}
		}
	})
}

// A client resumes after an event that was cut. It receives "stale" and continues from now.
func TestSSEResumeBehindTheCut(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		bus := durable(t, open(t, e.URL, e.Namespace), events.DurableOptions{Partitions: 1, MaxLen: 5})
		handler, err := bus.SSE(everybody, events.SSEOptions{})
		must(t, err)
		server := httptest.NewServer(handler)
		defer server.Close()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		in := browse(t, ctx, server.URL, "")
		var seen []sseEvent
		for n := range 20 {
			must(t, notes.Publish(t.Context(), bus, "a", note{N: n}))
			seen = append(seen, next(t, in))
		}
		must(t, bus.Trim(t.Context(), "a"))
		// In another process, because the first process has the events in memory.
		handler, err = durable(t, open(t, e.URL, e.Namespace),
			events.DurableOptions{Partitions: 1, MaxLen: 5}).SSE(everybody, events.SSEOptions{})
		must(t, err)
		server = httptest.NewServer(handler)
		defer server.Close()
		defer cancel()                                  // before the server waits for its streams
		kept := browse(t, ctx, server.URL, seen[15].id) // the oldest that is left
		cut := browse(t, ctx, server.URL, seen[13].id)  // 14 is missing
		for n := 16; n < 20; n++ {
			if got := next(t, kept); got != seen[n] {
				t.Errorf("resumed with %+v, want %+v", got, seen[n])
			}
		}
		if got := next(t, cut); got.event != "stale" || got.id != seen[19].id {
			t.Errorf("behind the cut came %+v", got)
		}
		must(t, notes.Publish(t.Context(), bus, "a", note{N: 20}))
		for _, s := range []<-chan sseEvent{kept, cut} {
			if got := next(t, s); !strings.HasPrefix(got.data, `{"n":20`) {
				t.Errorf("then came %+v", got)
			}
		}
	})
}

// A stream ends when its context is canceled, for example because a session was revoked. Other
// streams continue.
func TestSSEEndsWithItsContext(t *testing.T) {
	t.Parallel()
	bus := durable(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), events.DurableOptions{Partitions: 1})
	handler, err := bus.SSE(everybody, events.SSEOptions{})
	must(t, err)
	revoked, revoke := context.WithCancel(context.Background())
	defer revoke()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/revoked" {
			ctx, cancel := context.WithCancel(r.Context())
			defer cancel()
			defer context.AfterFunc(revoked, cancel)()
			r = r.WithContext(ctx)
		}
		handler.ServeHTTP(w, r)
	}))
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	one, other := browse(t, ctx, server.URL+"/revoked", ""), browse(t, ctx, server.URL, "")
	revoke()
	ended(t, one)
	must(t, notes.Publish(t.Context(), bus, "a", note{N: 7}))
	if got := next(t, other); !strings.HasPrefix(got.data, `{"n":7`) {
		t.Errorf("the other got %+v", got)
	}
}

// A client that does not read is disconnected after the write timeout.
func TestSSEClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	bus := durable(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)),
		events.DurableOptions{Partitions: 1, Retention: time.Hour, MaxBytes: 1 << 20})
	handler, err := bus.SSE(everybody, events.SSEOptions{WriteTimeout: 200 * time.Millisecond})
	must(t, err)
	done := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(done)
		handler.ServeHTTP(w, r)
	}))
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
	must(t, err)
	resp, err := http.DefaultClient.Do(req) // returns after the header; the body is not read
	must(t, err)
	defer resp.Body.Close()
	large := strings.Repeat("x", 512<<10)
	for n := range 64 { // more than the sockets hold
		must(t, notes.Publish(t.Context(), bus, "a", note{N: n, Text: large}))
	}
	select {
	case <-done:
	case <-time.After(15 * time.Second):
		t.Fatal("a client that does not read was not cut off")
	}
}
