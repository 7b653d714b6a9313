package events_test

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// Two consumers handle 60,000 events, or a million with REDSTART_SOAK=1. One of them leaves and
// returns continuously, and some attempts fail once. No process dies, so each event succeeds
// exactly once and in order. Memory of the process and of the server does not grow.
func TestE1_Soak(t *testing.T) {
	rig.Need(t, rig.TierAll)
	t.Parallel()
	if !rig.Alone(t) { // its heap is measured
		return
	}
	total := rig.Soak(60_000, 1_000_000)
	const ahead, piece = 30_000, 5000
	server := rig.Standalone(t)
	opts := events.DurableOptions{Lease: 2 * time.Second}
	client := open(t, server.URL(), "app")
	bus := durable(t, client, opts)

	var next [spreadChannels]atomic.Int64
	var handled, disordered, retried atomic.Int64
	handle := func(_ context.Context, e events.Event[note]) error {
		c, err := strconv.Atoi(strings.TrimPrefix(e.Channel, "users:"))
		if err != nil {
			return err
		}
		if e.Attempt == 1 && (e.Data.N+c)%997 == 0 {
			retried.Add(1)
			return errors.New("once")
		}
		if !next[c].CompareAndSwap(int64(e.Data.N), int64(e.Data.N)+1) {
			disordered.Add(1)
		}
		handled.Add(1)
		return nil
	}
	consume := func() (stop func()) {
		sub := subscriber(t, durable(t, client, opts), "g", events.SubscriberOptions{Backoff: soon, Start: events.FromBeginning()})
		must(t, notes.Handle(sub, "*", handle))
		return run(t, sub)
	}
	consume()

	memory := func() (heap, kept int64) {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		kept, err := strconv.ParseInt(server.Info("used_memory"), 10, 64)
		must(t, err)
		return int64(m.HeapAlloc), kept
	}
	var heap, kept int64
	stop := func() {}
	began := time.Now()
	for stored := 0; stored < total; stored += piece {
		if stored%(2*piece) == 0 {
			stop = consume()
		} else {
			stop()
		}
		storeSpread(t, client, bus, stored, stored+piece)
		rig.Eventually(t, time.Minute, "the consumers to keep up", func() bool { return handled.Load() > int64(stored+piece-ahead) })
		if stored == total/3/piece*piece {
			heap, kept = memory()
		}
	}
	rig.Eventually(t, time.Minute, "all events", func() bool { return handled.Load() >= int64(total) })
	elapsed := time.Since(began)
	if n := handled.Load(); n != int64(total) || disordered.Load() != 0 || retried.Load() == 0 {
		t.Errorf("%d of %d events succeeded, %d out of order, %d retried", n, total, disordered.Load(), retried.Load())
	}
	heapAfter, keptAfter := memory()
	if heapAfter > 2*heap+16<<20 || keptAfter > 2*kept+16<<20 {
		t.Errorf("the heap grew from %d to %d bytes, the server from %d to %d", heap, heapAfter, kept, keptAfter)
	}
	t.Logf("%d events in %v, %d retries: none lost, none twice, none out of order; heap %d to %d bytes, server %d to %d",
		total, elapsed.Round(time.Millisecond), retried.Load(), heap, heapAfter, kept, keptAfter)
}
