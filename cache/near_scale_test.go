package cache_test

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

// 100,000 near-cached entries: another process deletes all of them at once, connections are lost,
// and the server is flushed. Callers of a hot key continue. After that, goroutines and memory are
// as before.
func TestC3_AHundredThousandNearEntries(t *testing.T) {
	rig.Need(t, rig.TierAll)
	const entries, callers, reconnects = 100_000, 128, 20
	server, ctx := rig.Standalone(t), t.Context()
	proxy := rig.NewProxy(t, server.Addr())
	client := dialWith(t, redstart.Config{URL: proxy.URL(), Namespace: "app", CommandTimeout: 10 * time.Second})
	ours := on(t, client, cache.Options{TTL: time.Hour, Near: cache.NearOptions{MaxEntries: 2 * entries, TTL: time.Hour}})
	theirs := on(t, dialWith(t, redstart.Config{URL: server.URL(), Namespace: "app",
		CommandTimeout: 30 * time.Second}), cache.Options{TTL: time.Hour})
	pushed := listen(t, client, "app")
	keys, values := make([]string, entries), make(map[string]user, entries)
	for i := range keys {
		keys[i] = fmt.Sprint("key:", i)
		values[keys[i]] = before
	}
	fill := func() {
		t.Helper()
		if err := theirs.SetMany(ctx, values); err != nil {
			t.Fatal(err)
		}
		rig.Eventually(t, 30*time.Second, "all entries are near-cached", func() bool {
			got, err := ours.GetMany(ctx, keys)
			if err != nil || len(got) != entries {
				t.Fatalf("%d values, %v", len(got), err)
			}
			return ours.Stats().NearEntries >= entries
		})
	}
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	if err := theirs.Set(ctx, "hot", before); err != nil {
		t.Fatal(err)
	}
	bring(t, []string{"hot"}, before, ours)
	empty := heap()
	fill()
	full, goroutines := heap()-empty, runtime.NumGoroutine()

	// Another process deletes all keys at once.
	var hits atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if v, err := ours.Get(ctx, "hot"); err != nil || v != before {
					t.Errorf("the hot key: %v, %v", v, err)
					return
				}
				hits.Add(1)
				runtime.Gosched()
			}
		})
	}
	began := time.Now()
	if err := theirs.Delete(ctx, keys...); err != nil {
		t.Fatal(err)
	}
	deleted := time.Since(began)
	rig.Eventually(t, 30*time.Second, "all pushes have ended their entries", func() bool { return ours.Stats().NearEntries == 1 })
	gone := time.Since(began)
	close(stop)
	wg.Wait()
	t.Logf("%d deletes take %v, their pushes are done after %v; %d hits of the hot key in that time", entries,
		deleted, gone, hits.Load())
	if hits.Load() < entries/10 {
		t.Errorf("%d hits of the hot key during the storm", hits.Load())
	}
	left := heap() - empty
	t.Logf("heap: %d KiB full, %d KiB after the storm", full>>10, left>>10)
	if left > full/4 {
		t.Errorf("%d KiB are left of %d KiB", left>>10, full>>10)
	}

	// After reconnects, entries are suspect, and one read confirms each.
	fill()
	for range reconnects {
		pushed.forget()
		proxy.Cut()
		await(t, "the loss of the connection", pushed.flushes)
		rig.Eventually(t, 10*time.Second, "the hot key is near-cached again", func() bool {
			was := ours.Stats().NearHits
			v, err := ours.Get(ctx, "hot")
			return err == nil && v == before && ours.Stats().NearHits > was
		})
	}
	if n := ours.Stats().NearEntries; n < entries {
		t.Errorf("%d of %d entries are left after %d reconnects", n, entries, reconnects)
	}
	fill()
	again := heap() - empty
	t.Logf("heap: %d KiB after %d reconnects", again>>10, reconnects)
	if again > full*3/2 {
		t.Errorf("%d KiB after %d reconnects, %d KiB before", again>>10, reconnects, full>>10)
	}

	// After the flush no entry is served, and each read ends its entry.
	pushed.forget()
	if _, err := server.Do("FLUSHALL"); err != nil {
		t.Fatal(err)
	}
	await(t, "the flush", pushed.flushes)
	if got, err := ours.GetMany(ctx, keys); err != nil || len(got) != 0 {
		t.Errorf("%d values after a flush, %v", len(got), err)
	}
	if n := ours.Stats().NearEntries; n > 1 {
		t.Errorf("%d entries are left after the server had none", n)
	}
	rig.Eventually(t, 10*time.Second, "no goroutine is left per reconnect or entry",
		func() bool { return runtime.NumGoroutine() < goroutines+reconnects/2 })
	runtime.KeepAlive(values)
}
