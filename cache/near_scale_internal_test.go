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

// A sweep of 100,000 valid entries waits for no push, which has the lock of a shard, and allocates nothing for an entry.
func TestSweepOfManyEntriesIsCheap(t *testing.T) {
	rig.Need(t, rig.TierAll)
	n, _ := manyNear(t)
	for i := range n.shards {
		n.shards[i].mu.Lock()
		defer n.shards[i].mu.Unlock()
	}
	done := make(chan float64, 1)
	go func() {
		done <- testing.AllocsPerRun(1, func() { n.sweep(func() bool { return true }) })
	}()
	select {
	case allocs := <-done:
		if allocs > manyKeys/1000 {
			t.Errorf("a sweep of %d entries makes %v allocations", manyKeys, allocs)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("a sweep waits for the lock of a push")
	}
}

func manyNear(t *testing.T) (*near[int], []string) {
	t.Helper()
	n, _ := newTestNear[int](t, NearOptions{MaxEntries: 2 * manyKeys, TTL: time.Hour})
	keys := make([]string, manyKeys)
	for i := range keys {
		keys[i] = fmt.Sprint("key:", i)
		n.put(keys[i], &nearEntry[int]{value: i, expires: time.Hour})
	}
	return n, keys
}

// A hit takes no lock: 128 callers read a hot key while a push, which has the lock of the key's shard, does not go on.
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
						t.Error("the hot key is not near")
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

// A push costs about as much as a read, whether its key is near or not, and leaves nothing behind.
func TestAStormOfPushesCostsWhatReadsCost(t *testing.T) {
	rig.Need(t, rig.TierAll)
	n, keys := manyNear(t)
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
	t.Logf("%d keys: reads %v; pushes of near keys %v, %d allocations; of others %v, %d allocations", len(keys), reads, present, made, absent, madeAbsent)
	if n.entries.EstimatedSize() != 0 {
		t.Errorf("%d entries are left", n.entries.EstimatedSize())
	}
	if present > 20*reads || absent > 5*reads {
		t.Errorf("%d pushes take %v of near keys and %v of others; as many reads take %v", len(keys), present, absent, reads)
	}
	if madeAbsent > manyKeys/10 || made > 2*manyKeys {
		t.Errorf("%d pushes make %d allocations, and %d for keys that are not near", len(keys), made, madeAbsent)
	}
	for i := range n.shards {
		if len(n.shards[i].reserved) != 0 {
			t.Fatal("a push leaves a reservation")
		}
	}
}
