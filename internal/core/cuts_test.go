package core_test

import (
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
)

// After 1,000 lost connections during calls, the client holds no more memory and goroutines than
// after ten, which are the control.
func TestLostConnectionsLeaveNothingBehind(t *testing.T) {
	rig.Need(t, rig.TierAll) // not parallel, because it counts the goroutines of the process
	proxy := rig.NewProxy(t, rig.Standalone(t).Addr())
	c := open(t, proxy.URL(), timeout(10*time.Second))
	key := rig.Prefix(t) + ":k"
	stop := make(chan struct{})
	var wg sync.WaitGroup
	busy := func(do func() error) {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = do() // errors of lost connections do not matter here
				}
			}
		})
	}
	for range 4 {
		busy(func() error { return get(t.Context(), c, key) })
		busy(func() error { _, err := c.DoTracked(t.Context(), core.Read("GET", key)); return err })
	}
	cut := func(times int) {
		for i := range times {
			rig.Eventually(t, 10*time.Second, "calls work", func() bool { return get(t.Context(), c, key) == nil })
			if i%2 == 0 {
				proxy.Reset()
			} else {
				proxy.Cut()
			}
		}
	}

	cut(10)
	rig.Eventually(t, 10*time.Second, "calls work", func() bool { return get(t.Context(), c, key) == nil })
	heap, goroutines := weigh()
	cut(1000)
	close(stop)
	wg.Wait()

	var heapAfter uint64
	var goroutinesAfter int
	rig.Eventually(t, 20*time.Second, "memory and goroutines return to those after ten cuts", func() bool {
		if err := get(t.Context(), c, key); err != nil {
			return false
		}
		heapAfter, goroutinesAfter = weigh()
		return heapAfter < 2*heap && goroutinesAfter <= goroutines // the callers have ended
	})
	t.Logf("heap %d KiB, after ten cuts %d KiB; %d goroutines, after ten cuts %d with %d callers",
		heapAfter>>10, heap>>10, goroutinesAfter, goroutines, 8)
}
