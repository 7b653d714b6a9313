package cache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

// A storm of loads, invalidations and batches runs with values of 10 B to 100 KiB, on a server that
// is killed, stopped, cut off and slow. After it, heap and goroutines are the same as after a calm
// run of the same calls, which is the control. No state is left and nothing is pending.
func TestC4_AStormLeavesNothingBehind(t *testing.T) {
	rig.Need(t, rig.TierAll)
	const keys, callers = 500, 16
	calls := rig.Soak(20_000, 2_000_000)
	ctx, server := t.Context(), rig.Standalone(t)
	proxy := rig.NewProxy(t, server.Addr())
	client := dialWith(t, redstart.Config{URL: proxy.URL(), Namespace: "app", CommandTimeout: downTimeout})
	c := on(t, client, cache.Options{
		TTL: time.Minute, StaleFor: time.Minute, NegativeTTL: time.Second, LoadTimeout: time.Second,
		Near: cache.NearOptions{MaxEntries: keys, MaxBytes: 4 << 20},
	})
	warm(t, c)
	sizes := []int{10, 1 << 10, 100 << 10}
	load := func(_ context.Context, key string) (user, error) {
		switch rand.IntN(20) {
		case 0:
			return user{}, errAway
		case 1:
			return user{}, cache.ErrNotFound
		}
		return user{Name: strings.Repeat("x", sizes[len(key)%len(sizes)])}, nil
	}
	loadMany := func(ctx context.Context, keys []string) (map[string]user, error) {
		values := make(map[string]user)
		for _, key := range keys {
			v, err := load(ctx, key)
			if err == nil {
				values[key] = v
			}
		}
		return values, nil
	}
	var failed, served atomic.Int64
	one := func() {
		ctx, cancel := ctx, context.CancelFunc(func() {})
		if rand.IntN(10) == 0 {
			ctx, cancel = context.WithTimeout(ctx, time.Duration(rand.IntN(20))*time.Millisecond)
		}
		defer cancel()
		key := fmt.Sprint("k", rand.IntN(keys))
		var err error
		switch rand.IntN(12) {
		case 0:
			err = c.Delete(ctx, key)
		case 1:
			err = c.Set(ctx, key, user{Name: strings.Repeat("y", sizes[len(key)%len(sizes)])}, cache.Tags("tag"))
		case 2:
			err = c.Expire(ctx, key)
		case 3:
			_, err = c.GetOrLoadMany(ctx, []string{key, key + "0", key + "1"}, loadMany)
		case 4:
			if rand.IntN(100) == 0 {
				err = errors.Join(c.InvalidateTags(ctx, "tag"), c.Clear(ctx), c.DeletePrefix(ctx, "k1"))
			}
		default:
			_, err = c.GetOrLoad(ctx, key, load, cache.Tags("tag"))
		}
		if err != nil {
			failed.Add(1)
		} else {
			served.Add(1)
		}
	}
	run := func() {
		var left atomic.Int64
		left.Store(int64(calls))
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				for left.Add(-1) >= 0 {
					one()
				}
			})
		}
		wg.Wait()
	}
	settle := func() (heap int64, goroutines int) {
		rig.Eventually(t, time.Minute, "the server is reached and nothing is pending", func() bool {
			_, err := c.Get(ctx, "none")
			return errors.Is(err, cache.ErrNotFound) && c.Stats().PendingInvalidations == 0
		})
		if err := c.Clear(ctx); err != nil {
			t.Fatal(err)
		}
		rig.Eventually(t, time.Minute, "nothing is under way", func() bool {
			for what, n := range c.Leftovers() {
				if n != 0 && what != "failed refreshes" {
					return false
				}
			}
			return true
		})
		return heapInUse(), runtime.NumGoroutine()
	}

	run()
	heap, goroutines := settle()
	failed.Store(0)
	storm, end := context.WithCancel(ctx)
	defer end()
	var faults sync.WaitGroup
	var broken atomic.Int64
	faults.Go(func() {
		for ; storm.Err() == nil; broken.Add(1) {
			switch broken.Load() % 6 {
			case 0:
				proxy.Cut()
			case 1:
				proxy.Reset()
			case 2:
				proxy.Stall()
			case 3:
				server.Stop()
			case 4:
				server.Kill()
			case 5:
				proxy.Refuse()
				proxy.Cut()
			}
			await(t, "the fault's end", time.After(time.Duration(rand.IntN(700))*time.Millisecond))
			proxy.Resume()
			switch broken.Load() % 6 {
			case 3:
				server.Continue()
			case 4:
				server.Restart()
			case 5:
				if err := proxy.Accept(); err != nil {
					t.Error(err)
				}
			}
			await(t, "the calm's end", time.After(time.Duration(rand.IntN(200))*time.Millisecond))
		}
	})
	for broken.Load() < 6 {
		run()
	}
	end()
	faults.Wait()

	var heapAfter int64
	var goroutinesAfter int
	rig.Eventually(t, time.Minute, "the goroutines of the storm end", func() bool {
		heapAfter, goroutinesAfter = settle()
		return goroutinesAfter <= goroutines+5
	})
	t.Logf("%d faults, %d calls served, %d failed; heap %d KiB, was %d; %d goroutines, were %d",
		broken.Load(), served.Load(), failed.Load(), heapAfter>>10, heap>>10, goroutinesAfter, goroutines)
	if failed.Load() == 0 {
		t.Error("no call failed in the storm: this shows nothing")
	}
	if heapAfter > heap+heap/4+(1<<20) {
		t.Errorf("the storm leaves %d KiB of heap, a calm run %d KiB", heapAfter>>10, heap>>10)
	}
}
