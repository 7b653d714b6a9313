package cache_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

const downTimeout = 500 * time.Millisecond

func TestC4_RedisDown(t *testing.T) {
	t.Parallel()
	const timeout = 3 * time.Second // larger than the delays of a busy machine
	server := rig.Standalone(t)
	client := dialWith(t, redstart.Config{URL: server.URL(), Namespace: rig.Prefix(t), CommandTimeout: timeout})
	ctx := t.Context()
	c := on(t, client, cache.Options{NegativeTTL: time.Minute})
	if err := c.Set(ctx, "0", before); err != nil {
		t.Fatal(err)
	}
	server.Stop()

	// The first calls notice the outage within one command timeout. Each key is loaded once.
	const callers = 50
	var loads atomic.Int32
	together := make(chan struct{})
	load := func(context.Context, string) (user, error) {
		loads.Add(1)
		<-together
		return after, nil
	}
	var wg sync.WaitGroup
	watch := rig.Watch(t)
	var wrong atomic.Int32
	for range callers {
		wg.Go(func() {
			if v, err := c.GetOrLoad(ctx, "1", load); err != nil || v != after {
				wrong.Add(1)
			}
		})
	}
	rig.Eventually(t, 30*time.Second, "all callers wait for one load", func() bool { return c.Waiting("1") == callers })
	close(together)
	wg.Wait()
	if took := watch.Took(); took > 2*timeout || wrong.Load() > 0 {
		t.Fatalf("took %v with a command timeout of %v; %d calls failed", took, timeout, wrong.Load())
	}
	if n := loads.Load(); n != 1 {
		t.Errorf("%d loads of one key, want 1", n)
	}

	// After that the breaker is open, and no call waits.
	rig.Eventually(t, 5*time.Second, "the breaker opens", func() bool { return client.Nodes()[0].Breaker != 0 })
	watch = rig.Watch(t)
	for range 20 {
		if v, err := c.GetOrLoad(ctx, "2", constant(after, new(int))); err != nil || v != after {
			t.Fatal(v, err)
		}
	}
	if got, err := c.GetOrLoadMany(ctx, []string{"0", "1", "2"}, func(_ context.Context, keys []string) (map[string]user, error) {
		return map[string]user{"0": after, "2": after}, nil
	}); err != nil || len(got) != 2 {
		t.Fatal(got, err)
	}
	if took := watch.Took(); took > timeout {
		t.Fatalf("21 calls with an open breaker took %v", took)
	}
	if _, err := c.Get(ctx, "0"); !errors.Is(err, redstart.ErrUnavailable) {
		t.Fatalf("Get: %v: a miss and a failure are different results", err)
	}
	broken := errors.New("the database is away, too")
	if _, err := c.GetOrLoad(ctx, "3", func(context.Context, string) (user, error) { return user{}, broken }); err != broken {
		t.Fatal(err)
	}

	server.Continue()
	rig.Eventually(t, 10*time.Second, "the server is back", func() bool {
		v, err := c.Get(ctx, "0")
		return err == nil && v == before
	})
}

// The server is stopped. Near-cached values are served without a request to it: by single calls and
// batches, and a remembered ErrNotFound too. After the connection is given up, the entries are
// suspect, and calls that ask the server first get them as well.
func TestC4_TheNearCacheServesInAnOutage(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	client := dialWith(t, redstart.Config{URL: server.URL(), Namespace: rig.Prefix(t), CommandTimeout: downTimeout})
	ctx := t.Context()
	opts := nearby
	opts.NegativeTTL = time.Hour
	c := on(t, client, opts)
	unknown := func(context.Context, string) (user, error) { return user{}, cache.ErrNotFound }
	for range 2 {
		if _, err := c.GetOrLoad(ctx, "1", constant(before, new(int))); err != nil {
			t.Fatal(err)
		}
		if _, err := c.GetOrLoad(ctx, "unknown", unknown); !errors.Is(err, cache.ErrNotFound) {
			t.Fatal(err)
		}
	}
	server.Stop()
	defer server.Continue()

	forbiddenMany := func(_ context.Context, keys []string) (map[string]user, error) {
		t.Errorf("the loader ran for %q", keys)
		return nil, nil
	}
	serve := func() {
		t.Helper()
		if v, err := c.GetOrLoad(ctx, "1", forbidden(t)); err != nil || v != before {
			t.Fatal(v, err)
		}
		if v, err := c.Get(ctx, "1"); err != nil || v != before {
			t.Fatal(v, err)
		}
		if got, err := c.GetMany(ctx, []string{"1", "unknown"}); err != nil || len(got) != 1 || got["1"] != before {
			t.Fatal(got, err)
		}
		if got, err := c.GetOrLoadMany(ctx, []string{"unknown", "1"}, forbiddenMany); err != nil ||
			len(got) != 1 || got["1"] != before {
			t.Fatal(got, err)
		}
		if _, err := c.GetOrLoad(ctx, "unknown", forbidden(t)); !errors.Is(err, cache.ErrNotFound) {
			t.Fatal(err)
		}
	}
	const calls, hits = 200, 7 // hits of one serve
	was := c.Stats()
	for range calls {
		serve()
	}
	now := c.Stats()
	if now.NearHits-was.NearHits != hits*calls || now.Errors != was.Errors {
		t.Fatalf("%d near-cache hits, want %d; %d calls asked the server first", now.NearHits-was.NearHits,
			hits*calls, now.Errors-was.Errors)
	}

	rig.Eventually(t, 20*time.Second, "a call asks the server first", func() bool {
		serve()
		return c.Stats().Errors > now.Errors
	})
	serve()
}

// An invalidation that the server did not confirm is replayed until it does. Until then, this
// process does not serve the key.
func TestC1_FailedInvalidationIsReplayed(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(ctx context.Context, c *cache.Cache[user]) error{
		"Delete": func(ctx context.Context, c *cache.Cache[user]) error { return c.Delete(ctx, "1") },
		"Set":    func(ctx context.Context, c *cache.Cache[user]) error { return c.Set(ctx, "1", after) },
		"SetMany": func(ctx context.Context, c *cache.Cache[user]) error {
			return c.SetMany(ctx, map[string]user{"1": after})
		},
		"InvalidateTags": func(ctx context.Context, c *cache.Cache[user]) error { return c.InvalidateTags(ctx, "tag") },
		"Clear":          func(ctx context.Context, c *cache.Cache[user]) error { return c.Clear(ctx) },
		"DeletePrefix":   func(ctx context.Context, c *cache.Cache[user]) error { return c.DeletePrefix(ctx, "") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := rig.Shared(t)
			proxy := rig.NewProxy(t, server.Addr())
			namespace := rig.Prefix(t)
			ctx := t.Context()
			ours := on(t, dialWith(t, redstart.Config{URL: proxy.URL(), Namespace: namespace,
				CommandTimeout: downTimeout}), nearby)
			theirs := on(t, dial(t, server.URL(), namespace), cache.Options{})
			if err := ours.Set(ctx, "1", before, cache.Tags("tag")); err != nil {
				t.Fatal(err)
			}
			if v, err := theirs.Get(ctx, "1"); err != nil || v != before {
				t.Fatal(v, err)
			}
			proxy.Refuse()
			proxy.Cut()
			if err := fail(ctx, ours); err == nil {
				t.Fatal("no error without a server")
			}
			if s := ours.Stats(); s.PendingInvalidations == 0 {
				t.Fatalf("%+v", s)
			}
			if v, err := ours.GetOrLoad(ctx, "1", constant(after, new(int))); err != nil || v != after {
				t.Fatalf("this process serves a key whose invalidation failed: %v, %v", v, err)
			}
			if err := proxy.Accept(); err != nil {
				t.Fatal(err)
			}
			// Without a call of this process:
			rig.Eventually(t, 15*time.Second, "the replay", func() bool {
				v, err := theirs.Get(ctx, "1")
				return errors.Is(err, cache.ErrNotFound) || err == nil && v == after
			})
			rig.Eventually(t, 5*time.Second, "nothing is pending", func() bool { return ours.Stats().PendingInvalidations == 0 })
			if v, err := ours.GetOrLoad(ctx, "1", constant(after, new(int))); err != nil || v != after {
				t.Fatal(v, err)
			}
		})
	}
}

// Without StaleFor, no value is served past its TTL, also if there is no other value.
func TestC4_NotPastItsTTL(t *testing.T) {
	t.Parallel()
	server, ctx := rig.Standalone(t), t.Context()
	c := on(t, dialWith(t, redstart.Config{URL: server.URL(), Namespace: "app", CommandTimeout: downTimeout}), nearby)
	if err := c.Set(ctx, "1", before, cache.TTL(2*time.Second)); err != nil {
		t.Fatal(err)
	}
	bring(t, []string{"1"}, before, c)
	server.Stop()
	defer server.Continue()
	rig.Eventually(t, 10*time.Second, "the loader's error", func() bool {
		var from cache.Source
		v, err := c.GetOrLoad(ctx, "1", func(context.Context, string) (user, error) { return user{}, errAway }, cache.From(&from))
		if err == nil && from != cache.FromNear {
			t.Fatalf("%v, %v, although there is no StaleFor", v, from)
		}
		return errors.Is(err, errAway)
	})
}

// Pending invalidations of each outage are replayed, and once more when the client closes.
func TestC1_EveryOutageIsReplayed(t *testing.T) {
	t.Parallel()
	server, ctx := rig.Standalone(t), t.Context()
	refuse := func(yes string) { server.CLI("CONFIG", "SET", "min-replicas-to-write", yes) }
	client := dial(t, server.URL(), "app")
	ours, theirs := on(t, client, cache.Options{}), on(t, dial(t, server.URL(), "app"), cache.Options{})
	for round := range 3 {
		if err := theirs.Set(ctx, "1", before); err != nil {
			t.Fatal(err)
		}
		refuse("1")
		if err := ours.Delete(ctx, "1"); err == nil {
			t.Fatal("no error from a server that refuses writes")
		}
		if round == 2 {
			// The background may replay first. Then this round shows nothing, and the other rounds
			// do.
			refuse("0")
			if err := client.Close(); err != nil {
				t.Fatal(err)
			}
			if v, err := theirs.Get(ctx, "1"); !errors.Is(err, cache.ErrNotFound) {
				t.Fatalf("%v, %v: Close has not replayed the pending invalidation", v, err)
			}
			return
		}
		refuse("0")
		rig.Eventually(t, 10*time.Second, "the replay, without a call", func() bool {
			_, err := theirs.Get(ctx, "1")
			return errors.Is(err, cache.ErrNotFound) && ours.Stats().PendingInvalidations == 0
		})
	}
}
