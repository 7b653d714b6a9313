package events_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// netOutput returns how many bytes the server has sent.
func netOutput(t testing.TB, server *rig.Server) int {
	t.Helper()
	for line := range strings.Lines(server.CLI("INFO", "stats")) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "total_net_output_bytes:"); ok {
			v, err := strconv.Atoi(n)
			must(t, err)
			return v
		}
	}
	t.Fatal("no statistics")
	return 0
}

// One hundred clients resume at the same time and receive the missed events. The log is read about
// once.
func TestSSEStormOfReconnects(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	client := open(t, server.URL(), "app")
	bus := durable(t, client, events.DurableOptions{Partitions: 1, Retention: time.Hour})
	handler, err := bus.SSE(func(r *http.Request) (string, error) { return r.URL.Query().Get("c"), nil }, events.SSEOptions{})
	must(t, err)
	web := httptest.NewServer(handler)
	defer web.Close()
	const clients, fill, size = 100, 4000, 500
	var start events.Receipt
	must(t, notes.Publish(t.Context(), bus, "start", note{}, events.Into(&start)))
	var batch events.Batch
	for i := range fill {
		notes.AddToBatch(&batch, fmt.Sprint("c", i%clients), note{N: i / clients, Text: strings.Repeat("x", size)})
	}
	must(t, bus.PublishBatch(t.Context(), &batch))
	before := netOutput(t, server)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			in := browse(t, ctx, web.URL+"?c="+fmt.Sprint("c", c), start.Position)
			for n := range fill / clients {
				if got := next(t, in); got.event != "note" || !strings.HasPrefix(got.data, fmt.Sprintf(`{"n":%d,`, n)) {
					t.Errorf("client %d: %d is %.40v", c, n, got)
					return
				}
			}
		})
	}
	wg.Wait()
	// The log has 2.8 MB. Some bodies are read a second time, by id, for channels that resumed
	// later.
	if read := netOutput(t, server) - before; read > 4*fill*(size+200) {
		t.Errorf("%d clients had %d bytes read from a log of %d", clients, read, fill*(size+200))
	} else {
		t.Logf("%d clients had %d bytes read from a log of %d", clients, read, fill*(size+200))
	}
}

// One hundred clients have missed the same large events. Each event is read about once, not once
// per client. The control is one client per channel.
func TestSSEStormOfReconnectsWithLargeEvents(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	for _, channels := range []int{1, 10} {
		t.Run(fmt.Sprint(channels, " channels"), func(t *testing.T) {
			server := rig.Standalone(t)
			bus := durable(t, open(t, server.URL(), "app"), events.DurableOptions{Partitions: 1, Retention: time.Hour})
			handler, err := bus.SSE(func(r *http.Request) (string, error) {
				return r.URL.Query().Get("c"),
					nil
			}, events.SSEOptions{})
			must(t, err)
			web := httptest.NewServer(handler)
			defer web.Close()
			const clients, missed, size = 100, 60, 100 << 10
			var start events.Receipt
			must(t, notes.Publish(t.Context(), bus, "start", note{}, events.Into(&start)))
			for n := range missed {
				must(t, notes.Publish(t.Context(), bus, fmt.Sprint("c", n%channels),
					note{N: n / channels, Text: strings.Repeat("x", size)}))
			}

			resume := func(clients int) int {
				before := netOutput(t, server)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var wg sync.WaitGroup
				for c := range clients {
					wg.Go(func() {
						in := browse(t, ctx, web.URL+"?c="+fmt.Sprint("c", c%channels), start.Position)
						for n := range missed / channels {
							if got := next(t, in); got.event != "note" ||
								!strings.HasPrefix(got.data, fmt.Sprintf(`{"n":%d,`, n)) {
								t.Errorf("client %d: %d is %.40v", c, n, got)
								return
							}
						}
					})
				}
				wg.Wait()
				return netOutput(t, server) - before
			}
			control := resume(channels)
			storm := resume(clients)
			t.Logf("%d clients had %d bytes read, %d clients %d, the log has %d", channels, control, clients, storm, missed*size)
			if storm > 2*control || storm > 3*missed*size {
				t.Errorf("%d clients had %d bytes read, %d clients %d: want at most twice as much, and three times the log of %d",
					clients, storm, channels, control, missed*size)
			}
		})
	}
}

// The index of a process can have an event whose body was evicted from memory and cut from the log.
// A client that has missed it receives "stale", and not only the later events.
func TestSSEBodyThatWasCutIsStale(t *testing.T) {
	t.Parallel()
	bus := durable(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)),
		events.DurableOptions{Partitions: 1, MaxLen: 3, MaxBytes: 1 << 20})
	handler, err := bus.SSE(everybody, events.SSEOptions{})
	must(t, err)
	web := httptest.NewServer(handler)
	defer web.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stays := browse(t, ctx, web.URL, "") // keeps the index in memory
	var last sseEvent
	var first string
	for n := range 12 {
		must(t, notes.Publish(t.Context(), bus, "a", note{N: n, Text: strings.Repeat("x", 512<<10)}))
		if last = next(t, stays); n == 0 {
			first = last.id
		}
	}
	must(t, bus.Trim(t.Context(), "a"))

	back := browse(t, ctx, web.URL, first)
	if got := next(t, back); got.event != "stale" || got.id != last.id {
		t.Fatalf("a client whose events were cut got %s of %s, want stale at %s", got.event, got.id, last.id)
	}
	must(t, notes.Publish(t.Context(), bus, "a", note{N: 12}))
	if got := next(t, back); !strings.HasPrefix(got.data, `{"n":12`) {
		t.Errorf("after stale came %.40v", got)
	}
}
