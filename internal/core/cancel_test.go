package core_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
)

// After 100,000 cancelled calls on a stopped server, the client holds no more memory and goroutines
// than the control. The control is as many answered calls. The server answers the written calls
// when it continues, and their replies are discarded.
func TestCancelledCallsLeaveNothingBehind(t *testing.T) {
	rig.Need(t, rig.TierAll)
	const callers, each, waves = 1000, 50, 2 // a wave stays below the budget of a connection
	server := rig.Standalone(t)
	// no breaker and no lost connection: all calls wait
	c := open(t, server.URL(), timeout(time.Minute))
	key := rig.Prefix(t) + ":k"

	var answered, cancelled atomic.Int64
	crowd := func(ctx func() (context.Context, context.CancelFunc)) {
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				for range each {
					ctx, cancel := ctx()
					_, err := c.Do(ctx, core.Read("GET", key))
					cancel()
					switch {
					case err == nil:
						answered.Add(1)
					case errors.Is(err, context.DeadlineExceeded):
						cancelled.Add(1)
					default:
						t.Errorf("a cancelled call: %v", err)
					}
				}
			})
		}
		wg.Wait()
	}
	for range waves {
		crowd(func() (context.Context, context.CancelFunc) { return context.WithCancel(t.Context()) })
	}
	heap, goroutines := weigh()
	if answered.Load() != waves*callers*each {
		t.Fatalf("the control: %d calls were answered", answered.Load())
	}

	for range waves {
		server.Stop()
		crowd(func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(t.Context(), time.Millisecond)
		})
		server.Continue()
		if err := get(t.Context(), c, key); err != nil {
			t.Fatalf("the server continues: %v", err)
		}
	}
	if cancelled.Load() != waves*callers*each {
		t.Fatalf("%d of %d calls were cancelled", cancelled.Load(), waves*callers*each)
	}

	var heapAfter uint64
	var goroutinesAfter int
	rig.Eventually(t, 20*time.Second, "memory and goroutines return to those of answered calls", func() bool {
		heapAfter, goroutinesAfter = weigh()
		// one more: the writer of keep-alives
		return heapAfter < 2*heap && goroutinesAfter <= goroutines+1
	})
	t.Logf("heap %d KiB, control %d KiB; %d goroutines, control %d", heapAfter>>10, heap>>10, goroutinesAfter, goroutines)
}

// weigh returns the memory and the number of goroutines of this process.
func weigh() (heap uint64, goroutines int) {
	for range 3 { // a pool keeps its values for two garbage collections
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc, runtime.NumGoroutine()
}
