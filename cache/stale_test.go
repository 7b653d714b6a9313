package cache_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

// embeddedEngine is one whose time can be moved.
func embeddedEngine(t *testing.T) rig.Engine {
	t.Helper()
	e := rig.Engine{Embedded: rig.Embedded(t), Namespace: rig.Prefix(t)}
	e.URL = e.Embedded.URL()
	return e
}

// shortTTL is how long the entries are fresh that tests see become stale.
const shortTTL = 150 * time.Millisecond

func isStale(t *testing.T, c *cache.Cache[user], key string) {
	t.Helper()
	rig.Eventually(t, 10*time.Second, "the entry is stale", func() bool {
		_, err := c.Get(t.Context(), key)
		return errors.Is(err, cache.ErrNotFound)
	})
}

func TestStaleWhileRevalidate(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		opts := cache.Options{StaleFor: time.Hour, EarlyRefresh: cache.NoEarlyRefresh}
		a, b := open(t, e, opts), open(t, e, opts)
		if err := a.Set(ctx, "1", before, cache.TTL(shortTTL)); err != nil {
			t.Fatal(err)
		}
		isStale(t, a, "1")
		g := newGate()
		for i := range 20 { // all are served at once, one reloads
			c := a
			if i%2 == 1 {
				c = b
			}
			if v, err := c.GetOrLoad(ctx, "1", g.load); err != nil || v != before {
				t.Fatal(v, err)
			}
		}
		await(t, "the reload", g.entered)
		g.release <- answer{value: after}
		rig.Eventually(t, 5*time.Second, "the new value", func() bool {
			v, err := b.Get(ctx, "1")
			return err == nil && v == after
		})
		if len(g.entered) != 0 {
			t.Fatalf("%d more loads", len(g.entered))
		}
		if s, r := a.Stats(), b.Stats(); s.Stale+r.Stale == 0 || s.Refreshes+r.Refreshes != 1 {
			t.Fatalf("%+v\n%+v", s, r)
		}
	})
}

func TestStaleOnError(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		c := open(t, e, cache.Options{StaleFor: time.Hour, SoftTimeout: 5 * time.Second})
		if err := c.Set(ctx, "1", before, cache.TTL(shortTTL)); err != nil {
			t.Fatal(err)
		}
		isStale(t, c, "1")
		for name, load := range map[string]cache.Loader[user]{
			"error": func(context.Context, string) (user, error) { return user{}, errors.New("the database is away") },
			"panic": func(context.Context, string) (user, error) { panic("boom") },
		} {
			if v, err := c.GetOrLoad(ctx, "1", load); err != nil || v != before {
				t.Fatalf("%s: %v, %v", name, v, err)
			}
		}
		gone := func(context.Context, string) (user, error) { return user{}, cache.ErrNotFound }
		// A call before may have left a reload running, which this one joins: its loader is the other.
		rig.Eventually(t, 5*time.Second, "what is gone from the source is gone here", func() bool {
			_, err := c.GetOrLoad(ctx, "1", gone)
			return errors.Is(err, cache.ErrNotFound)
		})
		if v, err := c.GetOrLoad(ctx, "1", constant(after, new(int))); err != nil || v != after {
			t.Fatalf("a stale value outlived its source: %v, %v", v, err)
		}
	})
}

func TestSoftTimeout(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		c := open(t, e, cache.Options{StaleFor: time.Hour, SoftTimeout: 30 * time.Millisecond})
		if err := c.Set(ctx, "1", before, cache.TTL(shortTTL)); err != nil {
			t.Fatal(err)
		}
		isStale(t, c, "1")
		g := newGate()
		if v, err := c.GetOrLoad(ctx, "1", g.load); err != nil || v != before { // the reload is too slow
			t.Fatal(v, err)
		}
		await(t, "the reload", g.entered)
		g.release <- answer{value: after}
		rig.Eventually(t, 5*time.Second, "the reload goes on", func() bool {
			v, err := c.Get(ctx, "1")
			return err == nil && v == after
		})
	})
}

// C1 for what is served stale: a refresh that an invalidation overtook stores nothing, and a deleted entry is not
// served stale.
func TestC1_RefreshIsOvertaken(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		for _, near := range []int{0, 10} {
			ctx := t.Context()
			c := open(t, e, cache.Options{StaleFor: time.Hour, Near: cache.NearOptions{MaxEntries: near}})
			warm(t, c)
			if err := c.Set(ctx, "1", before, cache.TTL(shortTTL)); err != nil {
				t.Fatal(err)
			}
			isStale(t, c, "1")
			g := newGate()
			if v, err := c.GetOrLoad(ctx, "1", g.load); err != nil || v != before {
				t.Fatal(v, err)
			}
			await(t, "the refresh", g.entered)
			if err := c.Delete(ctx, "1"); err != nil {
				t.Fatal(err)
			}
			g.release <- answer{value: before}
			rig.Eventually(t, 5*time.Second, "the refresh learns that it was overtaken", func() bool { return c.Stats().LeaseLost == 1 })
			if v, err := c.GetOrLoad(ctx, "1", constant(after, new(int))); err != nil || v != after {
				t.Fatalf("near %d: a stale value after Delete: %v, %v", near, v, err)
			}
			if err := c.Delete(ctx, "1"); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestEarlyRefresh(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		for _, opts := range []cache.Options{{}, nearby} {
			ctx := t.Context()
			opts.EarlyRefresh = 100 // so that an entry which took a while is reloaded at once
			opts.Jitter = cache.NoJitter
			c := open(t, e, opts)
			slow := func(context.Context, string) (user, error) {
				for began := time.Now(); time.Since(began) < 20*time.Millisecond; { // the cost of the load is what counts here
					runtime.Gosched()
				}
				return before, nil
			}
			if err := c.Delete(ctx, "1"); err != nil {
				t.Fatal(err)
			}
			if _, err := c.GetOrLoad(ctx, "1", slow, cache.TTL(time.Second)); err != nil {
				t.Fatal(err)
			}
			rig.Eventually(t, 5*time.Second, "a refresh before the TTL has ended", func() bool {
				v, err := c.GetOrLoad(ctx, "1", constantLocked(after))
				if err != nil {
					t.Fatal(err)
				}
				return v == after
			})
			if c.Stats().Refreshes == 0 {
				t.Fatalf("%+v", c.Stats())
			}
		}
	})
}

func constantLocked(v user) cache.Loader[user] {
	return func(context.Context, string) (user, error) { return v, nil }
}
