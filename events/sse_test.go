package events_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

type sseEvent struct{ id, event, data string }

// browse opens a stream and returns its events until the test or ctx ends.
func browse(t *testing.T, ctx context.Context, url, last string) <-chan sseEvent {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	must(t, err)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" ||
		resp.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("answer %s %v", resp.Status, resp.Header)
	}
	out := make(chan sseEvent, 4096)
	started := make(chan struct{})
	go func() {
		defer resp.Body.Close()
		defer close(out)
		var e sseEvent
		in := bufio.NewScanner(resp.Body)
		in.Buffer(nil, 4<<20)
		for first := true; in.Scan(); first = false {
			if first {
				close(started)
			}
			field, value, _ := strings.Cut(in.Text(), ": ")
			switch field {
			case "id":
				e.id = value
			case "event":
				e.event = value
			case "data":
				e.data += value
			case "":
				if e.data != "" { // without data, a browser stores the id and dispatches no event
					out <- e
				}
				e = sseEvent{id: e.id}
			case ":":
				out <- sseEvent{event: "heartbeat"}
			}
		}
	}()
	<-started
	return out
}

func next(t *testing.T, in <-chan sseEvent) sseEvent {
	t.Helper()
	late := time.After(10 * time.Second)
	for {
		select {
		case e, ok := <-in:
			if !ok {
				t.Fatal("the stream has ended")
			}
			if e.event != "heartbeat" {
				return e
			}
		case <-late:
			t.Fatal("no event within 10 s")
		}
	}
}

func ended(t *testing.T, in <-chan sseEvent) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case _, ok := <-in:
			if !ok {
				return
			}
		case <-deadline:
			t.Fatal("the stream did not end within 10 s")
		}
	}
}

func TestSSE(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := open(t, e.URL, e.Namespace)
		bus := durable(t, client, events.DurableOptions{Partitions: 1, Retention: time.Hour})
		handler, err := bus.SSE(func(r *http.Request) (string, error) {
			if user := r.URL.Query().Get("user"); user != "" {
				return "users:" + user, nil
			}
			return "", errors.New("no user")
		}, events.SSEOptions{Heartbeat: 50 * time.Millisecond, History: 1000})
		must(t, err)
		revoked, revoke := context.WithCancel(context.Background())
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithCancel(r.Context())
			defer cancel()
			defer context.AfterFunc(revoked, cancel)()
			handler.ServeHTTP(w, r.WithContext(ctx))
		}))
		defer server.Close()
		defer revoke()
		ctx := t.Context()
		publish := func(user string, n int) { must(t, notes.Publish(ctx, bus, "users:"+user, note{N: n, Text: "a\nb"})) }

		publish("1", -1) // before the first stream
		one := browse(t, ctx, server.URL+"?user=1", "")
		two := browse(t, ctx, server.URL+"?user=2", "")
		for n := range 10 {
			publish("1", n)
			publish("2", 100+n)
		}
		var seen []sseEvent
		for n := range 10 {
			got := next(t, one)
			if got.event != "note" || got.data != fmt.Sprintf(`{"n":%d,"text":"a\nb"}`, n) {
				t.Fatalf("event %d is %+v", n, got)
			}
			seen = append(seen, got)
			if got := next(t, two); got.data != fmt.Sprintf(`{"n":%d,"text":"a\nb"}`, 100+n) {
				t.Fatalf("the other's event %d is %+v", n, got)
			}
		}
		// A client that resumes receives exactly the missed events, then the new ones.
		again := browse(t, ctx, server.URL+"?user=1", seen[3].id)
		publish("1", 10)
		for n := 4; n <= 10; n++ {
			if got := next(t, again); !strings.HasPrefix(got.data, fmt.Sprintf(`{"n":%d,`, n)) {
				t.Fatalf("resumed with %+v, want %d", got, n)
			}
		}
		// A client that can't resume receives "stale" and continues from now.
		for _, last := range []string{"nonsense", "1-1", "99999999999999-0"} {
			stale := browse(t, ctx, server.URL+"?user=1", last)
			got := next(t, stale)
			if got.event != "stale" || got.id == "" {
				t.Fatalf("Last-Event-ID %s gave %+v", last, got)
			}
			publish("1", 11)
			if got := next(t, stale); !strings.HasPrefix(got.data, `{"n":11,`) {
				t.Fatalf("after stale came %+v", got)
			}
		}
		publishMany(t, client, bus, "users:3", 0, 1500) // beyond History
		publish("1", 12)
		for got := next(t, one); !strings.HasPrefix(got.data, `{"n":12,`); got = next(t, one) {
			if got.event == "stale" {
				t.Fatal("a stream that has everything became stale while another channel was busy")
			}
		}
		if got := next(t, browse(t, ctx, server.URL+"?user=1", seen[3].id)); got.event != "stale" {
			t.Fatalf("after too long %+v", got)
		}
		// Heartbeats are sent without events.
		beats := browse(t, ctx, server.URL+"?user=9", "")
		if e := <-beats; e.event != "heartbeat" {
			t.Fatalf("%+v instead of a heartbeat", e)
		}
		resp, err := http.Get(server.URL)
		must(t, err)
		resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("a request without a user got %s", resp.Status)
		}
		revoke()
		ended(t, beats)
		ended(t, one)
	})
}

func TestSSEEndsWithTheClient(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
	bus := durable(t, client, events.DurableOptions{})
	handler, err := bus.SSE(func(*http.Request) (string, error) { return "a", nil }, events.SSEOptions{})
	must(t, err)
	server := httptest.NewServer(handler)
	defer server.Close()
	in := browse(t, t.Context(), server.URL, "")
	must(t, client.Close())
	ended(t, in)
}

// A slow client receives every event in order. No event is skipped while a write is blocked.
func TestSSESlowClientLosesNothing(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
	bus := durable(t, client, events.DurableOptions{Partitions: 1, Retention: time.Hour})
	handler, err := bus.SSE(everybody, events.SSEOptions{})
	must(t, err)
	w := &slowWriter{header: http.Header{}, blocked: make(chan struct{}), release: make(chan struct{}),
		got: make(chan string, 10_000)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx))
	}()
	<-w.blocked
	const n = 3000 // more bodies than a partition keeps
	publishMany(t, client, bus, "a", 0, n)
	close(w.release)
	var text strings.Builder
	deadline := time.After(30 * time.Second)
	for strings.Count(text.String(), "event: note") < n {
		select {
		case part := <-w.got:
			text.WriteString(part)
		case <-deadline:
			t.Fatalf("%d of %d events", strings.Count(text.String(), "event: note"), n)
		}
	}
	at := -1
	for line := range strings.Lines(text.String()) {
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			var got note
			must(t, json.Unmarshal([]byte(data), &got))
			if got.N != at+1 {
				t.Fatalf("%d came after %d", got.N, at)
			}
			at = got.N
		}
	}
	cancel()
	<-done
}

type slowWriter struct {
	header           http.Header
	blocked, release chan struct{}
	got              chan string
	n                int
}

func (w *slowWriter) Header() http.Header { return w.header }
func (w *slowWriter) WriteHeader(int)     {}
func (w *slowWriter) Flush()              {}
func (w *slowWriter) Write(p []byte) (int, error) {
	if w.n++; w.n == 1 {
		close(w.blocked)
		<-w.release
	}
	w.got <- string(p)
	return len(p), nil
}
