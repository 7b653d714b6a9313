package cache_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

// A full server that evicts nothing refuses commands that need memory. Stored values are served,
// missing values are loaded, invalidations hold, and a miss is no failure.
func TestC4_FullServer(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]cache.Options{"plain": {}, "near": nearby} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts.LoadTimeout = time.Hour
			server, ctx := rig.Standalone(t), t.Context()
			full := func(yes bool) {
				t.Helper()
				limit := "0"
				if yes {
					limit = "1"
				}
				server.CLI("CONFIG", "SET", "maxmemory", limit)
			}
			c := on(t, dial(t, server.URL(), "app"), opts)
			other := on(t, dial(t, server.URL(), "app"), opts)
			for _, c := range []*cache.Cache[user]{c, other} {
				warm(t, c)
			}
			for _, key := range []string{"stays", "set", "deleted", "expired", "in a prefix"} {
				if err := c.Set(ctx, key, before); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.Set(ctx, "tagged", before, cache.Tags("tag")); err != nil {
				t.Fatal(err)
			}
			g := newGate()
			loading := begin(ctx, c, "loading", g.load)
			await(t, "the load", g.entered)
			gm := newGate()
			batch := make(chan error, 1)
			go func() {
				_, err := c.GetOrLoadMany(ctx, []string{"loading too"},
					func(ctx context.Context, keys []string) (map[string]user, error) {
						v, err := gm.load(ctx, keys[0])
						return map[string]user{keys[0]: v}, err
					})
				batch <- err
			}()
			await(t, "the batch's load", gm.entered)
			full(true)

			for range 2 {
				if v, err := c.GetOrLoad(ctx, "stays", forbidden(t)); err != nil || v != before {
					t.Fatalf("a stored key: %v, %v", v, err)
				}
				loads := 0
				if v, err := c.GetOrLoad(ctx, "new", constant(after, &loads)); err != nil || v != after || loads != 1 {
					t.Fatalf("a missing key: %v, %v, %d loads", v, err, loads)
				}
				if v, err := c.Get(ctx, "new"); !errors.Is(err, cache.ErrNotFound) {
					t.Fatalf("a value that can't be stored: %v, %v, want ErrNotFound", v, err)
				}
				got, err := c.GetOrLoadMany(ctx, []string{"stays", "new"},
					func(_ context.Context, keys []string) (map[string]user, error) {
						return map[string]user{keys[0]: after}, nil
					})
				if err != nil || got["stays"] != before || got["new"] != after {
					t.Fatalf("%v, %v", got, err)
				}
			}
			g.release <- answer{value: after}
			if o := await(t, "the load's caller", loading); o.err != nil || o.value != after {
				t.Fatalf("a load whose value has no room: %v, %v", o.value, o.err)
			}
			gm.release <- answer{value: after}
			if err := await(t, "the batch's caller", batch); err != nil {
				t.Fatal(err)
			}
			rig.Eventually(t, 10*time.Second, "their leases, of an hour, are given up", func() bool {
				return server.CLI("EXISTS", "app:cache:users:{loading}:lease", "app:cache:users:{loading%20too}:lease") == "0"
			})

			if err := c.Set(ctx, "set", after); !errors.Is(err, redstart.ErrFull) {
				t.Fatalf("Set: %v, want ErrFull", err)
			}
			if err := c.SetMany(ctx, map[string]user{"set": after}); !errors.Is(err, redstart.ErrFull) {
				t.Fatalf("SetMany: %v, want ErrFull", err)
			}
			rig.Eventually(t, 10*time.Second, "the value that Set was to replace is gone", func() bool {
				_, err := other.Get(ctx, "set")
				return errors.Is(err, cache.ErrNotFound) && c.Stats().PendingInvalidations == 0
			})
			for what, invalidate := range map[string]func() error{
				"deleted":     func() error { return c.Delete(ctx, "deleted") },
				"expired":     func() error { return c.Expire(ctx, "expired") },
				"in a prefix": func() error { return c.DeletePrefix(ctx, "in a") },
				"tagged":      func() error { return c.InvalidateTags(ctx, "tag") },
			} {
				if err := invalidate(); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				missing(t, c, other, what)
			}
			if err := c.Clear(ctx); err != nil {
				t.Fatal(err)
			}
			missing(t, c, other, "stays")

			full(false)
			for _, key := range []string{"stays", "new", "loading", "set", "deleted", "tagged"} {
				for _, c := range []*cache.Cache[user]{c, other} {
					rig.Eventually(t, 10*time.Second, key+" is stored again", func() bool {
						v, err := c.GetOrLoad(ctx, key, constantLocked(after), cache.Tags("tag"))
						if err != nil || v != after {
							t.Fatalf("%s: %v, %v", key, v, err)
						}
						_, err = c.Get(ctx, key)
						return err == nil
					})
				}
			}
		})
	}
}

// missing fails unless key is a miss: at once for the cache that invalidated it, and soon for
// another process.
func missing(t *testing.T, c, other *cache.Cache[user], key string) {
	t.Helper()
	ctx := t.Context()
	for range 3 {
		if v, err := c.Get(ctx, key); !errors.Is(err, cache.ErrNotFound) {
			t.Fatalf("%s: Get: %v, %v, want ErrNotFound", key, v, err)
		}
		if got, err := c.GetMany(ctx, []string{key}); err != nil || len(got) != 0 {
			t.Fatalf("%s: GetMany: %v, %v, want nothing", key, got, err)
		}
		if v, err := c.GetOrLoad(ctx, key, constantLocked(after), cache.Tags("tag")); err != nil || v != after {
			t.Fatalf("%s: GetOrLoad: %v, %v", key, v, err)
		}
	}
	rig.Eventually(t, 10*time.Second, key+" is a miss to another process", func() bool {
		_, err := other.Get(ctx, key)
		if err != nil && !errors.Is(err, cache.ErrNotFound) {
			t.Fatalf("%s: another process: %v, want ErrNotFound", key, err)
		}
		return err != nil
	})
}

// FLUSHALL ends near-cached entries, and overtakes running loads.
func TestC3_FlushAll(t *testing.T) {
	t.Parallel()
	server, ctx := rig.Standalone(t), t.Context()
	ours, theirs := on(t, dial(t, server.URL(), "app"), nearby), on(t, dial(t, server.URL(), "app"), cache.Options{})
	warm(t, ours)
	warm(t, theirs)
	if err := ours.Set(ctx, "near", before, cache.Tags("tag")); err != nil {
		t.Fatal(err)
	}
	bring(t, []string{"near"}, before, ours)
	g := newGate()
	loading := begin(ctx, ours, "loading", g.load)
	await(t, "the load", g.entered)
	server.CLI("FLUSHALL")
	rig.Eventually(t, 10*time.Second, "near-cached entries have ended", func() bool {
		_, err := ours.Get(ctx, "near")
		return errors.Is(err, cache.ErrNotFound)
	})
	if v, err := theirs.GetOrLoad(ctx, "loading", constantLocked(after)); err != nil || v != after {
		t.Fatal(v, err)
	}
	g.release <- answer{value: before}
	if o := await(t, "the load's caller", loading); o.err != nil || o.value != before {
		t.Fatal(o.value, o.err)
	}
	for name, c := range map[string]*cache.Cache[user]{"ours": ours, "theirs": theirs} {
		if v, err := c.Get(ctx, "loading"); err != nil || v != after {
			t.Errorf("%s: %v, %v: a load that began before FLUSHALL was stored after it", name, v, err)
		}
	}
	if s := ours.Stats(); s.LeaseLost != 1 {
		t.Errorf("%+v", s)
	}
	if v, err := ours.GetOrLoad(ctx, "new", constantLocked(after)); err != nil || v != after {
		t.Error(v, err)
	}
}
