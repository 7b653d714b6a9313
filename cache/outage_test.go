package cache_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

// away returns loaders of a source that fails, which count their calls.
func away(loads *atomic.Int32) (cache.Loader[user], cache.BatchLoader[user]) {
	return func(context.Context, string) (user, error) {
			loads.Add(1)
			return user{}, errAway
		}, func(context.Context, []string) (map[string]user, error) {
			loads.Add(1)
			return nil, errAway
		}
}

// near opens a cache on a server of its own, stores values in its near cache, and kills the server:
// the entries are then suspect.
func near(t *testing.T, opts cache.Options, keys ...string) (*cache.Cache[user], *rig.Server) {
	t.Helper()
	server, ctx := rig.Standalone(t), t.Context()
	client := dialWith(t, redstart.Config{URL: server.URL(), Namespace: "app", CommandTimeout: downTimeout})
	opts.Near = cache.NearOptions{MaxEntries: 100, TTL: time.Hour}
	c := on(t, client, opts)
	pushed := listen(t, client, "app")
	warm(t, c)
	for _, key := range keys {
		if err := c.Set(ctx, key, before, cache.Tags("tag")); err != nil {
			t.Fatal(err)
		}
	}
	bring(t, keys, before, c)
	pushed.forget()
	server.Kill()
	await(t, "the loss of the connection", pushed.flushes)
	return c, server
}

// The server is killed. Near-cached values are served without a load and without the source, until
// the server answers.
func TestC4_NearOutlivesAKilledServer(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c, server := near(t, cache.Options{StaleFor: time.Hour}, "1")
	var loads atomic.Int32
	load, many := away(&loads)
	for range 500 {
		if v, err := c.GetOrLoad(ctx, "1", load); err != nil || v != before {
			t.Fatal(v, err)
		}
		if v, err := c.Get(ctx, "1"); err != nil || v != before {
			t.Fatal(v, err)
		}
		if got, err := c.GetOrLoadMany(ctx, []string{"1"}, many); err != nil || got["1"] != before {
			t.Fatal(got, err)
		}
		if got, err := c.GetMany(ctx, []string{"1"}); err != nil || got["1"] != before {
			t.Fatal(got, err)
		}
	}
	if n := loads.Load(); n != 0 {
		t.Errorf("%d loads of a near-cached value", n)
	}

	server.Restart() // it has lost everything, and does not confirm the entry
	rig.Eventually(t, 10*time.Second, "a miss", func() bool {
		_, err := c.Get(ctx, "1")
		return errors.Is(err, cache.ErrNotFound)
	})
	server.Kill()
	rig.Eventually(t, 10*time.Second, "the server is away", func() bool {
		v, err := c.Get(ctx, "1")
		if err == nil {
			t.Fatalf("%v: the server had answered that there is no such value", v)
		}
		return !errors.Is(err, cache.ErrNotFound)
	})
}

// A key that this process invalidates in an outage is not served from a suspect entry.
func TestC1_SuspectEntriesEndWithInvalidations(t *testing.T) {
	t.Parallel()
	for name, invalidate := range invalidations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			c, _ := near(t, cache.Options{}, "1")
			if v, err := c.Get(ctx, "1"); err != nil || v != before {
				t.Fatalf("%v, %v: nothing is served, and this shows nothing", v, err)
			}
			if err := invalidate(ctx, c); err == nil {
				t.Fatal("no error without a server")
			}
			if v, err := c.Get(ctx, "1"); err == nil {
				t.Fatalf("%v is served after it was invalidated", v)
			}

			// The same holds for a value that was loaded in the outage, and for a running load.
			if v, err := c.GetOrLoad(ctx, "1", constantLocked(before), cache.Tags("tag")); err != nil || v != before {
				t.Fatal(v, err)
			}
			invalidate(ctx, c)
			g := newGate()
			loading := begin(ctx, c, "1", g.load, cache.Tags("tag"))
			await(t, "a load", g.entered)
			invalidate(ctx, c)
			g.release <- answer{value: before}
			await(t, "the loader's caller", loading)
			if v, err := c.GetOrLoad(ctx, "1", constantLocked(after), cache.Tags("tag")); err != nil || v != after {
				t.Fatalf("%v, %v: a load that began before an invalidation", v, err)
			}
		})
	}
}

// Without Redis, the source gets one load per key, not one per call.
func TestC4_OneLoadPerKeyInAnOutage(t *testing.T) {
	t.Parallel()
	server, ctx := rig.Standalone(t), t.Context()
	client := dialWith(t, redstart.Config{URL: server.URL(), Namespace: "app", CommandTimeout: downTimeout})
	c := on(t, client, cache.Options{NegativeTTL: time.Hour, Near: cache.NearOptions{MaxEntries: 100, TTL: time.Hour}})
	warm(t, c)
	server.Kill()
	var loads, missing atomic.Int32
	load := func(_ context.Context, key string) (user, error) {
		loads.Add(1)
		return after, nil
	}
	const calls = 1000
	began := time.Now()
	for range calls {
		if v, err := c.GetOrLoad(ctx, "1", load); err != nil || v != after {
			t.Fatal(v, err)
		}
		if _, err := c.GetOrLoad(ctx, "2", func(context.Context, string) (user, error) {
			missing.Add(1)
			return user{}, cache.ErrNotFound
		}); !errors.Is(err, cache.ErrNotFound) {
			t.Fatal(err)
		}
	}
	most := int32(time.Since(began)/(2*time.Second)) + 2 // each value is kept for 2 s
	if loads.Load() > most || missing.Load() > most {
		t.Errorf("%d and %d loads in %d calls, want at most %d", loads.Load(), missing.Load(), calls, most)
	}
}

// One dead node of a cluster does not end the reads of keys on other nodes: neither if it has the
// generation of the cache, nor after an invalidation that failed there.
func TestC4_ADeadNodeOfACluster(t *testing.T) {
	t.Parallel()
	cluster := rig.NewCluster(t, rig.NoReplicas(), rig.NodeArgs("--cluster-require-full-coverage", "no"))
	namespace, ctx := rig.Prefix(t), t.Context()
	client := dialWith(t, redstart.Config{URL: cluster.URL(), Namespace: namespace, CommandTimeout: downTimeout})
	c := on(t, client, cache.Options{TTL: time.Hour})
	warm(t, c)
	values := make(map[string]user)
	for i := range 100 {
		values[fmt.Sprint("k", i)] = before
	}
	if err := c.SetMany(ctx, values); err != nil {
		t.Fatal(err)
	}
	dead := cluster.Primary(namespace + ":cache:users:{%}:clear")
	var healthy []string
	for key := range values {
		if cluster.Primary(namespace+":cache:users:{"+key+"}") != dead {
			healthy = append(healthy, key)
		}
	}
	if len(healthy) < 20 {
		t.Fatalf("%d keys on healthy nodes: this shows nothing", len(healthy))
	}
	dead.Kill()

	for i, key := range healthy {
		if v, err := c.GetOrLoad(ctx, key, forbidden(t)); err != nil || v != before {
			t.Fatalf("%s on a healthy node: %v, %v", key, v, err)
		}
		if v, err := c.Get(ctx, key); err != nil || v != before {
			t.Fatalf("%s on a healthy node: %v, %v", key, v, err)
		}
		if i == 0 {
			if err := c.InvalidateTags(ctx, "a", "b", "c", "d", "e", "f", "g", "h"); err == nil {
				t.Fatal("no error without a node that holds one of the tags")
			}
		}
	}
}

// An entry past its TTL is served for StaleFor while the source fails too, and not longer. The
// source is not asked by each call.
func TestC4_StaleWhileTheSourceFailsToo(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	const ttl = 500 * time.Millisecond
	c, _ := near(t, cache.Options{TTL: ttl, Jitter: cache.NoJitter, StaleFor: time.Hour}, "1", "2")
	var loads atomic.Int32
	load, many := away(&loads)
	for range 500 {
		if v, err := c.GetOrLoad(ctx, "1", load); err != nil || v != before {
			t.Fatal(v, err)
		}
		if got, err := c.GetOrLoadMany(ctx, []string{"2"}, many); err != nil || got["2"] != before {
			t.Fatal(got, err)
		}
	}
	rig.Eventually(t, 10*time.Second, "a stale value", func() bool {
		var from cache.Source
		v, err := c.GetOrLoad(ctx, "1", load, cache.From(&from))
		if err != nil || v != before {
			t.Fatal(v, err)
		}
		return from == cache.FromStale
	})
	failed := loads.Load()
	began := time.Now()
	for range 500 {
		if got, err := c.GetOrLoadMany(ctx, []string{"1", "2"}, many); err != nil || got["1"] != before || got["2"] != before {
			t.Fatal(got, err)
		}
	}
	if most := int32(2*time.Since(began)/(100*time.Millisecond)) + 4; loads.Load()-failed > most { // 0.1 s is the shortest wait
		t.Errorf("%d loads in 500 calls and %v, want at most %d", loads.Load()-failed, time.Since(began), most)
	}
	if _, err := c.Get(ctx, "1"); !errors.Is(err, redstart.ErrUnavailable) {
		t.Errorf("Get: %v, and it serves nothing stale", err)
	}
	rig.Eventually(t, 10*time.Second, "nothing is served past StaleFor", func() bool {
		_, err := c.GetOrLoad(ctx, "1", load, cache.StaleFor(time.Millisecond))
		return errors.Is(err, errAway)
	})
}

// The server answers with another stale entry, which ends the suspect one.
func TestC1_AStaleAnswerEndsTheSuspectEntry(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	proxy, ctx := rig.NewProxy(t, server.Addr()), t.Context()
	client := dialWith(t, redstart.Config{URL: proxy.URL(), Namespace: "app", CommandTimeout: downTimeout})
	c := on(t, client, cache.Options{StaleFor: time.Hour, Near: cache.NearOptions{MaxEntries: 100, TTL: time.Hour}})
	other := on(t, dial(t, server.URL(), "app"), cache.Options{StaleFor: time.Hour, Jitter: cache.NoJitter})
	if err := c.Set(ctx, "1", before); err != nil {
		t.Fatal(err)
	}
	bring(t, []string{"1"}, before, c)
	pushed := listen(t, client, "app")
	proxy.StallReplies()
	if err := other.Set(ctx, "1", after, cache.TTL(time.Millisecond)); err != nil { // its push is lost
		t.Fatal(err)
	}
	proxy.Cut()
	await(t, "the loss of the connection", pushed.flushes)
	proxy.Resume()
	var loads atomic.Int32
	failing, _ := away(&loads)
	rig.Eventually(t, 10*time.Second, "the server's stale entry", func() bool {
		v, err := c.GetOrLoad(ctx, "1", failing)
		return err == nil && v == after
	})
	server.Kill()
	was := c.Stats().Errors
	rig.Eventually(t, 10*time.Second, "calls without the server", func() bool {
		if v, err := c.GetOrLoad(ctx, "1", failing); err == nil && v == before {
			t.Fatal("the suspect entry is back, though the server had answered with a later one")
		}
		return c.Stats().Errors > was+10
	})
}
