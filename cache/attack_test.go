package cache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

// 100,000 invalidations fail. The server stops and starts ten times while they are replayed. This
// process never reads a key whose invalidation failed, and holds at most MaxPending of them. In the
// end, the server has confirmed all.
func TestC1_ARestartStormWithManyPending(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	const count, deleters, storms = 100_000, 4, 10
	server, ctx := rig.Standalone(t), t.Context()
	proxy := rig.NewProxy(t, server.Addr())
	other := on(t, dial(t, server.URL(), "app"), cache.Options{TTL: time.Hour})
	c := on(t, dialWith(t, redstart.Config{URL: proxy.URL(), Namespace: "app", CommandTimeout: downTimeout}), nearby)
	warm(t, c)
	keys := make([]string, count)
	for i := range keys {
		keys[i] = fmt.Sprint("k", i)
	}
	for begin := 0; begin < count; begin += 10_000 {
		values := make(map[string]user)
		for _, key := range keys[begin : begin+10_000] {
			values[key] = before
		}
		if err := other.SetMany(ctx, values); err != nil {
			t.Fatal(err)
		}
	}
	bring(t, keys[:10], before, c)

	proxy.Refuse()
	rig.Eventually(t, 30*time.Second, "no connection", func() bool { proxy.Cut(); return proxy.Open() == 0 })
	heap := heapInUse()
	var deleting sync.WaitGroup
	for i := range deleters {
		deleting.Go(func() {
			if err := c.Delete(ctx, keys[i*count/deleters:(i+1)*count/deleters]...); err == nil {
				t.Error("no error without a server")
			}
		})
	}
	deleting.Wait()
	if s := c.Stats(); s.FailedInvalidations < count || s.PendingInvalidations > cache.MaxPending {
		t.Errorf("%d failed and %d are pending, want %d and at most %d", s.FailedInvalidations,
			s.PendingInvalidations, count, cache.MaxPending)
	}
	t.Logf("heap: %d KiB before, %d KiB with %d pending", heap>>10, heapInUse()>>10, c.Stats().PendingInvalidations)

	reading, stop := context.WithCancel(ctx)
	defer stop()
	var reads atomic.Int64
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for reading.Err() == nil {
				key := keys[rand.IntN(count)]
				v, err := c.GetOrLoad(reading, key, constantLocked(after))
				if reading.Err() == nil && (err != nil || v != after) {
					t.Errorf("%s: %v, %v", key, v, err)
					return
				}
				reads.Add(1)
			}
		})
	}
	for range storms {
		if err := proxy.Accept(); err != nil {
			t.Fatal(err)
		}
		rig.Eventually(t, 30*time.Second, "a connection", func() bool { return proxy.Open() > 0 })
		proxy.Refuse()
		rig.Eventually(t, 30*time.Second, "no connection", func() bool { proxy.Cut(); return proxy.Open() == 0 })
	}
	if err := proxy.Accept(); err != nil {
		t.Fatal(err)
	}
	rig.Eventually(t, 60*time.Second, "nothing is pending", func() bool { return c.Stats().PendingInvalidations == 0 })
	was := reads.Load()
	rig.Eventually(t, 30*time.Second, "reads with the server", func() bool { return reads.Load() > was+1000 })
	stop()
	readers.Wait()
	for i := 0; i < count; i += 100 {
		if v, err := other.Get(ctx, keys[i]); err == nil && v != after || err != nil && !errors.Is(err, cache.ErrNotFound) {
			t.Fatalf("%s in another process: %v, %v", keys[i], v, err)
		}
	}
}

// A primary dies under load. No call fails. The process that invalidates never reads a value older
// than its invalidation. After the new primary answers, values are stored and served from it again.
func TestC4_AFailoverUnderLoad(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	shards(t, func(t *testing.T, s shard) {
		const keys, processes, callers = 50, 3, 8
		namespace := rig.Prefix(t)
		var all []*cache.Cache[user]
		for i := range processes {
			opts := cache.Options{TTL: time.Hour, EarlyRefresh: cache.NoEarlyRefresh, LoadTimeout: 5 * time.Second}
			if i > 0 {
				opts.Near = cache.NearOptions{MaxEntries: 100}
			}
			c := on(t, dialWith(t, redstart.Config{URL: s.url, Namespace: namespace, CommandTimeout: downTimeout}), opts)
			warm(t, c)
			all = append(all, c)
		}

		var source, floor [keys]atomic.Int64 // the newest version; the newest version for which the first process has invalidated
		load := func(ctx context.Context, key string) (user, error) {
			var k int
			if _, err := fmt.Sscan(key, &k); err != nil {
				return user{}, err
			}
			v := source[k].Load()
			select {
			case <-time.After(time.Duration(rand.IntN(int(5 * time.Millisecond)))):
			case <-ctx.Done():
				return user{}, ctx.Err()
			}
			return user{ID: key, Version: int(v)}, nil
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var running sync.WaitGroup
		for i, c := range all {
			for range callers {
				running.Go(func() {
					for ctx.Err() == nil {
						k := rand.IntN(keys)
						least := floor[k].Load()
						v, err := c.GetOrLoad(ctx, fmt.Sprint(k), load)
						switch {
						case ctx.Err() != nil:
							return
						case err != nil:
							t.Errorf("process %d, key %d: %v", i, k, err)
							return
						case i == 0 && int64(v.Version) < least:
							t.Errorf("key %d: version %d, after version %d was invalidated", k, v.Version, least)
							return
						}
					}
				})
			}
		}
		running.Go(func() { // one process changes the source; after an error its invalidation is pending
			for ctx.Err() == nil {
				k := rand.IntN(keys)
				v := source[k].Add(1)
				_ = all[0].Delete(ctx, fmt.Sprint(k))
				floor[k].Store(v)
				select {
				case <-time.After(5 * time.Millisecond):
				case <-ctx.Done():
				}
			}
		})
		hits := func() (n int64) {
			for _, c := range all {
				n += c.Stats().Hits
			}
			return n
		}
		was := hits()
		rig.Eventually(t, 30*time.Second, "hits before", func() bool { return hits() > was+1000 })
		s.primary.Kill()
		s.promote()
		was = hits()
		rig.Eventually(t, 60*time.Second, "hits after", func() bool { return hits() > was+1000 })
		rig.Eventually(t, 60*time.Second, "nothing is pending", func() bool { return all[0].Stats().PendingInvalidations == 0 })
		stop()
		running.Wait()

		for k := range keys {
			key := fmt.Sprint(k)
			rig.Eventually(t, 30*time.Second, "an invalidation, once no breaker is open",
				func() bool { return all[0].Delete(t.Context(), key) == nil })
			for i, c := range all {
				rig.Eventually(t, 30*time.Second, fmt.Sprintf("process %d has the newest version of %s", i, key), func() bool {
					v, err := c.GetOrLoad(t.Context(), key, load)
					return err == nil && int64(v.Version) == source[k].Load()
				})
			}
		}
	})
}
