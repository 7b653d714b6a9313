package cache

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
)

const manyKeys = 100_000

// A sweep of 100,000 valid entries does not wait for a push, which holds the lock of a shard. It
// removes no entry, rests after each step, and allocates as little as a sweep of 1,000 entries.
func TestSweepOfManyEntriesIsCheap(t *testing.T) {
	rig.Need(t, rig.TierAll)
	n, _ := manyNear(t, manyKeys)
	control, _ := manyNear(t, 1000)
	for i := range n.shards {
		n.shards[i].mu.Lock()
		defer n.shards[i].mu.Unlock()
	}
	type cost struct{ allocs, bytes, rests int64 }
	measure := func(n *nearCache[int]) (c cost) {
		var before, after runtime.MemStats
		sweep := func() { n.sweep(func() bool { c.rests++; return true }) }
		sweep() // allocates what it keeps for later
		c.rests = 0
		runtime.ReadMemStats(&before)
		sweep()
		runtime.ReadMemStats(&after)
		c.allocs, c.bytes = int64(after.Mallocs-before.Mallocs), int64(after.TotalAlloc-before.TotalAlloc)
		return c
	}
	done := make(chan cost, 1)
	go func() { done <- measure(n) }()
	var many cost
	select {
	case many = <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("a sweep waits for the lock of a push")
	}
	few := measure(control)
	if many.allocs > few.allocs+manyKeys/1000 || many.bytes > few.bytes+manyKeys/4 {
		t.Errorf("a sweep of %d entries allocates %+v, one of 1,000 %+v", manyKeys, many, few)
	}
	if many.rests != manyKeys/sweepStep {
		t.Errorf("it rests %d times, want %d", many.rests, manyKeys/sweepStep)
	}
	if left := n.entries.EstimatedSize(); left != manyKeys {
		t.Errorf("%d of %d valid entries are left", left, manyKeys)
	}
}

func manyNear(t *testing.T, entries int) (*nearCache[int], []string) {
	t.Helper()
	n, _ := newTestNear[int](t, NearOptions{MaxEntries: 2 * entries, TTL: time.Hour})
	keys := make([]string, entries)
	for i := range keys {
		keys[i] = fmt.Sprint("key:", i)
		n.put(keys[i], &nearEntry[int]{value: i, expires: time.Hour})
	}
	return n, keys
}

// A hit takes no lock: 128 callers read a hot key while a push holds the lock of its shard.
func TestAHotNearKeyWaitsForNoPush(t *testing.T) {
	t.Parallel()
	const callers, reads = 128, 1000
	n, _ := newTestNear[int](t, NearOptions{MaxEntries: 10, TTL: time.Hour})
	n.put("hot", &nearEntry[int]{expires: time.Hour})

	shard := n.shard("hot")
	shard.mu.Lock()
	defer shard.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				for range reads {
					if n.get("hot", 0) == nil {
						t.Error("the hot key is not near-cached")
						return
					}
				}
			})
		}
		wg.Wait()
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("a hit waits for the lock of a push")
	}
}

// A push costs about as much as a read, for near-cached keys and others, and leaves nothing behind.
func TestAStormOfPushesCostsWhatReadsCost(t *testing.T) {
	rig.Need(t, rig.TierAll)
	n, keys := manyNear(t, manyKeys)
	measure := func(work func(key string)) (time.Duration, uint64) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began := time.Now()
		for _, key := range keys {
			work(key)
		}
		took := time.Since(began)
		runtime.ReadMemStats(&after)
		return took, after.Mallocs - before.Mallocs
	}
	reads, _ := measure(func(key string) { n.last(key, 0) })
	present, made := measure(n.invalidate)
	absent, madeAbsent := measure(n.invalidate)
	t.Logf("%d keys: reads %v; pushes of near-cached keys %v, %d allocations; of others %v, %d allocations",
		len(keys), reads, present, made, absent, madeAbsent)
	if n.entries.EstimatedSize() != 0 {
		t.Errorf("%d entries are left", n.entries.EstimatedSize())
	}
	if present > 20*reads || absent > 5*reads {
		t.Errorf("%d pushes take %v for near-cached keys and %v for others; as many reads take %v", len(keys),
			present, absent, reads)
	}
	if madeAbsent > manyKeys/10 || made > 2*manyKeys {
		t.Errorf("%d pushes make %d allocations, and %d for other keys", len(keys), made, madeAbsent)
	}
	for i := range n.shards {
		if len(n.shards[i].reserved) != 0 {
			t.Fatal("a push leaves a reservation")
		}
	}
}
