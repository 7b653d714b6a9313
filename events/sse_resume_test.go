package events_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// raw opens a stream and returns its lines.
func raw(t testing.TB, ctx context.Context, url string) <-chan string {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	must(t, err)
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	lines := make(chan string, 1024)
	go func() {
		defer resp.Body.Close()
		defer close(lines)
		buf := make([]byte, 4096)
		rest := ""
		for {
			n, err := resp.Body.Read(buf)
			rest += string(buf[:n])
			for {
				line, after, ok := strings.Cut(rest, "\n")
				if !ok {
					break
				}
				lines <- line
				rest = after
			}
			if err != nil {
				return
			}
		}
	}()
	return lines
}

// nextID waits for a position that differs from before.
func nextID(t testing.TB, lines <-chan string, before string) string {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				t.Fatal("the stream has ended")
			}
			if id, found := strings.CutPrefix(line, "id: "); found && id != before {
				return id
			}
		case <-deadline:
			t.Fatal("no position within 20 s")
		}
	}
}

// A client receives its position before the first event. The position moves while only other
// channels have events.
func TestSSEPositionBeforeTheFirstEvent(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		bus := durable(t, open(t, e.URL, e.Namespace), events.DurableOptions{Partitions: 1, Retention: time.Hour})
		handler, err := bus.SSE(everybody, events.SSEOptions{Heartbeat: 30 * time.Millisecond})
		must(t, err)
		server := httptest.NewServer(handler)
		defer server.Close()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		must(t, notes.Publish(t.Context(), bus, "other", note{}))
		lines := raw(t, ctx, server.URL)
		first := nextID(t, lines, "")
		must(t, notes.Publish(t.Context(), bus, "a", note{N: 1}))
		early := browse(t, ctx, server.URL, first) // the connection was lost before the event
		if got := next(t, early); got.event != "note" || !strings.HasPrefix(got.data, `{"n":1`) {
			t.Errorf("an early reconnect got %+v", got)
		}
		at := nextID(t, lines, first)
		var other events.Receipt
		must(t, notes.Publish(t.Context(), bus, "other", note{}, events.Into(&other)))
		if moved := nextID(t, lines, at); moved != other.Position {
			t.Errorf("the heartbeat moved the position to %s, want %s", moved, other.Position)
		}
	})
}

// A page starts after the position that Publish has returned.
func TestSSEStartsAtThePositionOfAReceipt(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		bus := durable(t, open(t, e.URL, e.Namespace), events.DurableOptions{Partitions: 1, Retention: time.Hour})
		handler, err := bus.SSE(everybody, events.SSEOptions{})
		must(t, err)
		server := httptest.NewServer(handler)
		defer server.Close()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		browse(t, ctx, server.URL, "") // another stream: the tail may be behind what is published
		for n := range 20 {
			var receipt events.Receipt
			must(t, notes.Publish(t.Context(), bus, "a", note{N: 2 * n}, events.Into(&receipt)))
			page := browse(t, ctx, server.URL+"?position="+receipt.Position, "")
			must(t, notes.Publish(t.Context(), bus, "a", note{N: 2*n + 1}))
			if got := next(t, page); got.event != "note" || !strings.HasPrefix(got.data, fmt.Sprintf(`{"n":%d`, 2*n+1)) {
				t.Fatalf("page %d got %+v", n, got)
			}
		}
	})
}

// A server that does not answer in time says nothing about the log. The client receives the missed
// events, and not "stale".
func TestSSETimeoutIsNotStale(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	client := openWithin(t, 200*time.Millisecond, server.URL(), "app")
	bus := durable(t, client, events.DurableOptions{Partitions: 1, Retention: time.Hour})
	handler, err := bus.SSE(everybody, events.SSEOptions{})
	must(t, err)
	web := httptest.NewServer(handler)
	defer web.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var receipts [3]events.Receipt
	for i := range receipts {
		must(t, notes.Publish(t.Context(), bus, "a", note{N: i}, events.Into(&receipts[i])))
	}
	browse(t, ctx, web.URL, "") // the tail runs
	var reads atomic.Int64
	rig.Arm(t, bus.Points(), "tail", func(direction string) error {
		if direction == "down" {
			reads.Add(1)
		}
		return nil
	})
	server.Stop()
	back := browse(t, ctx, web.URL, receipts[0].Position)
	// A read starts after the read before has timed out.
	rig.Eventually(t, 30*time.Second, "two reads have timed out", func() bool { return reads.Load() >= 3 })
	server.Continue()
	for i := 1; i < len(receipts); i++ {
		if got := next(t, back); got.event != "note" || got.id != receipts[i].Position {
			t.Fatalf("after the outage came %+v, want %d", got, i)
		}
	}
}

// A failed read of the log says nothing about the log. The client is not "stale", although the next
// read would succeed.
func TestSSEFailedReadIsNotStale(t *testing.T) {
	t.Parallel()
	bus := durable(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), events.DurableOptions{Partitions: 1, Retention: time.Hour})
	handler, err := bus.SSE(everybody, events.SSEOptions{})
	must(t, err)
	web := httptest.NewServer(handler)
	defer web.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var receipts [3]events.Receipt
	for i := range receipts {
		must(t, notes.Publish(t.Context(), bus, "a", note{N: i}, events.Into(&receipts[i])))
	}
	browse(t, ctx, web.URL, "") // the tail starts behind the events

	const failures = 3
	var reads atomic.Int64
	rig.Arm(t, bus.Points(), "tail", func(direction string) error {
		if direction == "down" && reads.Add(1) <= failures {
			return errors.New("no answer")
		}
		return nil
	})
	back := browse(t, ctx, web.URL, receipts[0].Position)
	for i := 1; i < len(receipts); i++ {
		if got := next(t, back); got.event != "note" || got.id != receipts[i].Position {
			t.Fatalf("after the failed reads came %+v, want event %d", got, i)
		}
	}
	if n := reads.Load(); n <= failures {
		t.Errorf("%d reads, want more than the %d that failed", n, failures)
	}
}

// http.Server.Shutdown waits for requests. Close, which is registered with it, ends the streams.
func TestSSEEndsWithShutdown(t *testing.T) {
	t.Parallel()
	bus := durable(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), events.DurableOptions{Partitions: 1})
	streams, err := bus.SSE(everybody, events.SSEOptions{})
	must(t, err)
	server := httptest.NewServer(streams)
	defer server.Close()
	server.Config.RegisterOnShutdown(streams.Close)
	in := browse(t, t.Context(), server.URL, "")
	must(t, server.Config.Shutdown(t.Context()))
	ended(t, in)
	w := httptest.NewRecorder()
	if streams.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil)); w.Code != http.StatusServiceUnavailable {
		t.Errorf("after Close: %d", w.Code)
	}
}
