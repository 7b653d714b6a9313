package cache_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

var errAway = errors.New("the database is away")

// clockOf gives the backoff of a cache a clock that the test moves.
func clockOf(c *cache.Cache[user]) *atomic.Int64 {
	var now atomic.Int64
	now.Store(int64(time.Hour))
	c.RefreshClock(func() time.Duration { return time.Duration(now.Load()) })
	return &now
}

func failures(t *testing.T, c *cache.Cache[user], key string, n int64) {
	t.Helper()
	rig.Eventually(t, 10*time.Second, "the refresh has failed",
		func() bool { return c.Stats().RefreshErrors == n && c.Refreshing(key) == 0 })
}

// isLongStale makes an entry stale for every reader: the clients' view of the server's time is as
// exact as an answer is fast.
func isLongStale(t *testing.T, c *cache.Cache[user], key string) {
	t.Helper()
	isStale(t, c, key)
	since := time.Now()
	rig.Eventually(t, 10*time.Second, "the entry is long stale", func() bool { return time.Since(since) > 200*time.Millisecond })
}

// A failing source is not asked again by every read of a stale entry.
func TestAFailedRefreshIsHeldBack(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	for name, soft := range map[string]time.Duration{"at once": 0, "after a soft timeout": 10 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rig.Engines(t, func(t *testing.T, e rig.Engine) {
				ctx := t.Context()
				c := open(t, e, cache.Options{StaleFor: time.Hour, SoftTimeout: soft, EarlyRefresh: cache.NoEarlyRefresh})
				now := clockOf(c)
				if err := c.Set(ctx, "1", before, cache.TTL(shortTTL)); err != nil {
					t.Fatal(err)
				}
				isLongStale(t, c, "1")
				var loads atomic.Int64
				broken := func(context.Context, string) (user, error) { loads.Add(1); return user{}, errAway }
				read := func(load cache.Loader[user]) {
					t.Helper()
					if v, err := c.GetOrLoad(ctx, "1", load); err != nil || v != before {
						t.Fatal(v, err)
					}
				}
				read(broken)
				failures(t, c, "1", 1)
				for range 20 {
					read(broken)
				}
				batch := func(ctx context.Context, keys []string) (map[string]user, error) { loads.Add(1); return nil, errAway }
				for range 20 {
					if vs, err := c.GetOrLoadMany(ctx, []string{"1"}, batch); soft == 0 && (err != nil || vs["1"] != before) {
						t.Fatal(vs, err)
					}
				}
				if s := c.Stats(); loads.Load() != 1 || s.HeldBack != 40 || s.RefreshErrors != 1 || s.Refreshes != 1 {
					t.Fatalf("%d loads; %+v", loads.Load(), s)
				}
				now.Add(int64(time.Second)) // one more refresh
				read(broken)
				failures(t, c, "1", 2)
				read(broken)
				if s := c.Stats(); loads.Load() != 2 || s.HeldBack != 41 {
					t.Fatalf("%d loads; %+v", loads.Load(), s)
				}
				now.Add(int64(time.Second)) // the source works again
				rig.Eventually(t, 10*time.Second, "the new value", func() bool {
					v, err := c.GetOrLoad(ctx, "1", func(context.Context, string) (user, error) { return after, nil })
					return err == nil && v == after
				})
			})
		})
	}
}

// A panic in the background is a failure too, also of a batch. A change by this process allows a
// refresh at once.
func TestAFailedBatchRefreshIsHeldBack(t *testing.T) {
	t.Parallel()
	e := embeddedEngine(t)
	ctx := t.Context()
	c := open(t, e, cache.Options{StaleFor: time.Hour, EarlyRefresh: cache.NoEarlyRefresh})
	clockOf(c)
	stale := func(key string) {
		t.Helper()
		if err := c.Set(ctx, key, before, cache.TTL(shortTTL)); err != nil {
			t.Fatal(err)
		}
		isLongStale(t, c, key)
	}
	read := func(key string, load cache.BatchLoader[user]) {
		t.Helper()
		if vs, err := c.GetOrLoadMany(ctx, []string{key}, load); err != nil || vs[key] != before {
			t.Fatal(vs, err)
		}
	}
	broken := func(context.Context, []string) (map[string]user, error) { return nil, errAway }
	boom := func(context.Context, []string) (map[string]user, error) { panic("boom") }
	forbidden := func(_ context.Context, keys []string) (map[string]user, error) {
		t.Errorf("the loader ran for %v", keys)
		return nil, nil
	}
	stale("1")
	stale("2")
	read("1", broken)
	failures(t, c, "1", 1)
	read("2", boom)
	failures(t, c, "2", 2)
	read("1", forbidden)
	read("2", forbidden)
	if s := c.Stats(); s.HeldBack != 2 || s.RefreshErrors != 2 {
		t.Fatalf("%+v", s)
	}
	stale("1")
	read("1", broken)
	failures(t, c, "1", 3)
}

// A refresh that its callers cancelled says nothing about the source.
func TestACancelledRefreshIsNoFailure(t *testing.T) {
	t.Parallel()
	e := embeddedEngine(t)
	client := dial(t, e.URL, e.Namespace)
	c := on(t, client, cache.Options{StaleFor: time.Hour, EarlyRefresh: cache.NoEarlyRefresh})
	if err := c.Set(t.Context(), "1", before, cache.TTL(shortTTL)); err != nil {
		t.Fatal(err)
	}
	isStale(t, c, "1")
	g := newGate()
	if v, err := c.GetOrLoad(t.Context(), "1", g.load); err != nil || v != before {
		t.Fatal(v, err)
	}
	await(t, "the refresh", g.entered)
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if s := c.Stats(); s.Refreshes != 1 || s.RefreshErrors != 0 {
		t.Fatalf("%+v", s)
	}
}
