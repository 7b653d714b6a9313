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
	const timeout = 3 * time.Second // what a busy machine adds to one of these is less than another
	server := rig.Standalone(t)
	client := dialWith(t, redstart.Config{URL: server.URL(), Namespace: rig.Prefix(t), CommandTimeout: timeout})
	ctx := t.Context()
	c := on(t, client, cache.Options{NegativeTTL: time.Minute})
	if err := c.Set(ctx, "0", before); err != nil {
		t.Fatal(err)
	}
	server.Stop()

	// The first calls find out, within a command timeout; each key is loaded once.
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

	// Then the breaker is open, and nobody waits.
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

// With the server frozen, what is near is served without asking it.
func TestC4_NearServesInAnOutage(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	client := dialWith(t, redstart.Config{URL: server.URL(), Namespace: rig.Prefix(t), CommandTimeout: downTimeout})
	ctx := t.Context()
	c := on(t, client, nearby)
	for range 2 {
		if _, err := c.GetOrLoad(ctx, "1", constant(before, new(int))); err != nil {
			t.Fatal(err)
		}
	}
	server.Stop()
	defer server.Continue()
	was := c.Stats()
	const calls = 1000
	for range calls {
		if v, err := c.GetOrLoad(ctx, "1", forbidden(t)); err != nil || v != before {
			t.Fatal(v, err)
		}
		if v, err := c.Get(ctx, "1"); err != nil || v != before {
			t.Fatal(v, err)
		}
	}
	// A call that asks the server first gets the near entry as well, after a failure that is counted.
	if now := c.Stats(); now.NearHits-was.NearHits != 2*calls || now.Errors != was.Errors {
		t.Fatalf("%d near hits in %d calls, and %d calls asked the server first", now.NearHits-was.NearHits, 2*calls, now.Errors-was.Errors)
	}
}

// An invalidation that the server did not confirm is repeated until it does; meanwhile this process does not serve what
// it failed to invalidate.
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
			ours := on(t, dialWith(t, redstart.Config{URL: proxy.URL(), Namespace: namespace, CommandTimeout: downTimeout}), nearby)
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
			if s := ours.Stats(); s.Owing == 0 {
				t.Fatalf("%+v", s)
			}
			if v, err := ours.GetOrLoad(ctx, "1", constant(after, new(int))); err != nil || v != after {
				t.Fatalf("this process serves what it failed to invalidate: %v, %v", v, err)
			}
			if err := proxy.Accept(); err != nil {
				t.Fatal(err)
			}
			// Without a call of this process:
			rig.Eventually(t, 15*time.Second, "the replay", func() bool {
				v, err := theirs.Get(ctx, "1")
				return errors.Is(err, cache.ErrNotFound) || err == nil && v == after
			})
			rig.Eventually(t, 5*time.Second, "nothing is pending", func() bool { return ours.Stats().Owing == 0 })
			if v, err := ours.GetOrLoad(ctx, "1", constant(after, new(int))); err != nil || v != after {
				t.Fatal(v, err)
			}
		})
	}
}

// Without StaleFor nothing is served past its TTL, not even when there is nothing else.
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

// What an outage left is repeated after each one, and once more when the client is closed.
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
			// The background may be first: then this round shows nothing, and the others do.
			refuse("0")
			if err := client.Close(); err != nil {
				t.Fatal(err)
			}
			if v, err := theirs.Get(ctx, "1"); !errors.Is(err, cache.ErrNotFound) {
				t.Fatalf("%v, %v: Close has not repeated what was owed", v, err)
			}
			return
		}
		refuse("0")
		rig.Eventually(t, 10*time.Second, "the replay, without a call", func() bool {
			_, err := theirs.Get(ctx, "1")
			return errors.Is(err, cache.ErrNotFound) && ours.Stats().Owing == 0
		})
	}
}
