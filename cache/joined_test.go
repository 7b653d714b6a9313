package cache_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

// A load finds a value that another process stored. The value is invalidated before the load ends.
// A caller that joined after the invalidation asks again.
func TestC1_AJoinedLoadFoundAValue(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		for _, opts := range []cache.Options{{}, nearby} {
			for _, many := range []bool{false, true} {
				ctx := t.Context()
				e.Namespace += "-"
				ours, theirs := open(t, e, opts), open(t, e, cache.Options{})
				stored, found, goOn := make(chan error, 1), make(chan struct{}), make(chan struct{})
				rig.ArmOnce(t, ours.Points(), "lease", "1", func() { stored <- theirs.Set(ctx, "1", before) })
				rig.ArmOnce(t, ours.Points(), "leased", "1", func() {
					close(found)
					<-goOn
				})
				early := begin(ctx, ours, "1", forbidden(t))
				if err := await(t, "the value of another process", stored); err != nil {
					t.Fatal(err)
				}
				await(t, "the value is found", found)
				if err := theirs.Delete(ctx, "1"); err != nil {
					t.Fatal(err)
				}
				second := newGate()
				late := make(chan outcome, 1)
				go func() {
					if !many {
						v, err := ours.GetOrLoad(ctx, "1", second.load)
						late <- outcome{v, err}
						return
					}
					got, err := ours.GetOrLoadMany(ctx, []string{"1"},
						func(ctx context.Context, keys []string) (map[string]user, error) {
							v, err := second.load(ctx, keys[0])
							return map[string]user{"1": v}, err
						})
					late <- outcome{got["1"], err}
				}()
				rig.Eventually(t, 10*time.Second, "it joins, or a push has detached the load before or after that", func() bool {
					return ours.Waiting("1") != 1 || len(second.entered) == 1
				})
				close(goOn)
				if o := await(t, "the first caller", early); o.err != nil || o.value != before {
					t.Fatalf("the first caller got %v, %v", o.value, o.err)
				}
				await(t, "the load of the late caller", second.entered)
				second.release <- answer{value: after}
				if o := await(t, "the second caller", late); o.err != nil || o.value != after {
					t.Fatalf("the caller after the invalidation got %v, %v", o.value, o.err)
				}
				if v, err := ours.Get(ctx, "1"); err != nil || v != after {
					t.Fatalf("%v, %v stays stored", v, err)
				}
			}
		}
	})
}

// The tags, or the cache, are invalidated during a load. The load keeps its lease and stores an
// entry that is no hit. Later callers don't join it.
func TestC1_LoadsEndWithTags(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		client := dial(t, e.URL, e.Namespace)
		c, sibling := on(t, client, nearby), on(t, client, cache.Options{})
		warm(t, c)
		for name, invalidate := range map[string]func() error{
			"InvalidateTags":                  func() error { return c.InvalidateTags(ctx, "tag") },
			"InvalidateTags of another Cache": func() error { return sibling.InvalidateTags(ctx, "tag") },
			"Clear":                           func() error { return c.Clear(ctx) },
			"Clear of another Cache":          func() error { return sibling.Clear(ctx) },
		} {
			for _, many := range []bool{false, true} {
				key, g := fmt.Sprint(name, many), newGate()
				first := begin(ctx, c, key, g.load, cache.Tags("tag"))
				await(t, "the load", g.entered)
				if err := invalidate(); err != nil {
					t.Fatal(err)
				}
				waits := c.Stats().Waits
				second := make(chan outcome, 1)
				go func() {
					if !many {
						v, err := c.GetOrLoad(ctx, key, constantLocked(after), cache.Tags("tag"))
						second <- outcome{v, err}
						return
					}
					got, err := c.GetOrLoadMany(ctx, []string{key}, func(context.Context, []string) (map[string]user, error) {
						return map[string]user{key: after}, nil
					}, cache.Tags("tag"))
					second <- outcome{got[key], err}
				}()
				rig.Eventually(t, 10*time.Second, "it waits for the lease, or with the first one", func() bool {
					return c.Stats().Waits > waits || c.Waiting(key) > 1
				})
				g.release <- answer{value: before}
				if o := await(t, "the first caller", first); o.err != nil || o.value != before {
					t.Fatalf("%s: the first caller got %v, %v", name, o.value, o.err)
				}
				if o := await(t, "the second caller", second); o.err != nil || o.value != after {
					t.Fatalf("%s: the caller after it got %v, %v", name, o.value, o.err)
				}
			}
		}
	})
}

// invalidations are all ways to end the entry of key 1 with the tag "tag".
var invalidations = map[string]func(ctx context.Context, c *cache.Cache[user]) error{
	"Delete":         func(ctx context.Context, c *cache.Cache[user]) error { return c.Delete(ctx, "1") },
	"Set":            func(ctx context.Context, c *cache.Cache[user]) error { return c.Set(ctx, "1", after) },
	"InvalidateTags": func(ctx context.Context, c *cache.Cache[user]) error { return c.InvalidateTags(ctx, "tag") },
	"Clear":          func(ctx context.Context, c *cache.Cache[user]) error { return c.Clear(ctx) },
	"DeletePrefix":   func(ctx context.Context, c *cache.Cache[user]) error { return c.DeletePrefix(ctx, "") },
}

// A stale value is in the near cache, and the server can't be reached. When the loader fails, the
// value is served, until this process invalidates it.
func TestC1_AStaleEntryEndsWithAFailedInvalidation(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	for name, invalidate := range invalidations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, ctx := rig.Standalone(t), t.Context()
			client := dialWith(t, redstart.Config{URL: server.URL(), Namespace: "app", CommandTimeout: downTimeout})
			c := on(t, client, cache.Options{StaleFor: time.Hour, Near: nearby.Near})
			if err := c.Set(ctx, "1", before, cache.Tags("tag"), cache.TTL(2*time.Second)); err != nil {
				t.Fatal(err)
			}
			rig.Eventually(t, 10*time.Second, "the value is near-cached", func() bool {
				_, err := c.Get(ctx, "1")
				return err == nil && c.Stats().NearHits > 0
			})
			rig.Eventually(t, 10*time.Second, "it is stale", func() bool {
				_, err := c.Get(ctx, "1")
				return errors.Is(err, cache.ErrNotFound)
			})
			server.Stop()
			defer server.Continue()
			broken := errors.New("the database is away, too")
			ask := func() (v user, from cache.Source, err error) {
				v, err = c.GetOrLoad(ctx, "1", func(context.Context, string) (user, error) {
					return user{},
						broken
				}, cache.From(&from))
				return v, from, err
			}
			if v, from, err := ask(); err != nil || v != before || from != cache.FromStale {
				t.Fatalf("%v from %v, %v: no stale entry is near-cached, and the test shows nothing", v, from, err)
			}
			if err := invalidate(ctx, c); err == nil {
				t.Fatal("no error without a server")
			}
			if v, from, err := ask(); !errors.Is(err, broken) {
				t.Fatalf("%v from %v, %v after it was invalidated", v, from, err)
			}
		})
	}
}
