package stripe_test

import (
	"sync"
	"testing"

	"github.com/redstart-go/redstart/internal/stripe"
)

// Goroutines that run at the same time get different stripes, and each goroutine keeps its stripe.
func TestGoroutinesAreSpread(t *testing.T) {
	t.Parallel()
	const n, goroutines = 8, 256
	var all, done sync.WaitGroup
	all.Add(goroutines)
	var mu sync.Mutex
	var seen [n]int
	for range goroutines {
		done.Go(func() {
			all.Done()
			all.Wait() // all goroutines have their stacks now
			at := stripe.Of(n)
			for range 100 {
				if again := stripe.Of(n); again != at {
					t.Errorf("one goroutine has the stripes %d and %d", at, again)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			seen[at]++
		})
	}
	done.Wait()
	for at, got := range seen {
		if got == 0 || got > goroutines/2 {
			t.Errorf("%d of %d goroutines have stripe %d: %v", got, goroutines, at, seen)
		}
	}
}
