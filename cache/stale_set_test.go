package cache_test

import (
	"context"
	"testing"
	"time"

	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

var (
	before = user{ID: "1", Name: "before", Version: 1}
	after  = user{ID: "1", Name: "after", Version: 2}
)

// A load is under way when the source changes and the key is invalidated. Its value is its caller's, and nobody else's.
func TestC1_NoStaleSet(t *testing.T) {
	t.Parallel()
	invalidations := map[string]func(ctx context.Context, c *cache.Cache[user]) error{
		"Delete": func(ctx context.Context, c *cache.Cache[user]) error { return c.Delete(ctx, "1") },
		"Set":    func(ctx context.Context, c *cache.Cache[user]) error { return c.Set(ctx, "1", after) },
	}
	for name, invalidate := range invalidations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rig.Engines(t, func(t *testing.T, e rig.Engine) {
				for _, who := range []string{"same process", "another process"} {
					ctx := t.Context()
					key := "1"
					loader, other := open(t, e, cache.Options{}), open(t, e, cache.Options{})
					invalidator := loader
					if who == "another process" {
						invalidator = other
					}
					if err := loader.Delete(ctx, key); err != nil {
						t.Fatal(err)
					}
					g := newGate()
					overtaken := begin(ctx, loader, key, g.load)
					await(t, "the load", g.entered)
					if err := invalidate(ctx, invalidator); err != nil {
						t.Fatal(err)
					}
					// A second load, of the same process, begins and ends in between.
					if name == "Delete" {
						if v, err := invalidator.GetOrLoad(ctx, key, constant(after, new(int))); err != nil || v != after {
							t.Fatalf("%s: after the invalidation: %v, %v", who, v, err)
						}
					}
					g.release <- answer{value: before}
					if o := await(t, "the overtaken caller", overtaken); o.err != nil || o.value != before {
						t.Fatalf("%s: the overtaken caller got %v, %v, want what it loaded", who, o.value, o.err)
					}
					for _, c := range []*cache.Cache[user]{loader, other} {
						if v, err := c.GetOrLoad(ctx, key, constant(after, new(int))); err != nil || v != after {
							t.Fatalf("%s: a stale set: %v, %v", who, v, err)
						}
					}
				}
			})
		})
	}
}

// The token is the load's, not the process': the second load of one process does not let the first one in.
func TestC1_TokenPerLoad(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		c := open(t, e, cache.Options{})
		first, second := newGate(), newGate()
		a := begin(ctx, c, "1", first.load)
		await(t, "the first load", first.entered)
		if err := c.Delete(ctx, "1"); err != nil {
			t.Fatal(err)
		}
		b := begin(ctx, c, "1", second.load)
		await(t, "the second load", second.entered)
		first.release <- answer{value: before}
		await(t, "the first caller", a)
		if v, err := c.Get(ctx, "1"); err == nil {
			t.Fatalf("the first load stored %v under the lease of the second", v)
		}
		second.release <- answer{value: after}
		if o := await(t, "the second caller", b); o.value != after {
			t.Fatalf("got %v, %v", o.value, o.err)
		}
		if v, err := c.Get(ctx, "1"); err != nil || v != after {
			t.Fatalf("got %v, %v", v, err)
		}
	})
}

// Who joins a flight that had begun before an invalidation of another process asks again.
func TestC1_JoinedFlightWasOvertaken(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		ours, theirs := open(t, e, cache.Options{}), open(t, e, cache.Options{})
		first, second := newGate(), newGate()
		overtaken := begin(ctx, ours, "1", first.load)
		await(t, "the load", first.entered)
		if err := theirs.Delete(ctx, "1"); err != nil {
			t.Fatal(err)
		}
		late := begin(ctx, ours, "1", second.load)
		rig.Eventually(t, 5*time.Second, "it joins, or a push has ended the flight and it loads", func() bool {
			return ours.Waiting("1") == 2 || len(second.entered) == 1
		})
		first.release <- answer{value: before}
		if o := await(t, "the first caller", overtaken); o.err != nil || o.value != before {
			t.Fatalf("the first caller got %v, %v", o.value, o.err)
		}
		await(t, "the load of the one who came late", second.entered)
		second.release <- answer{value: after}
		if o := await(t, "the second caller", late); o.err != nil || o.value != after {
			t.Fatalf("who came after the invalidation got %v, %v", o.value, o.err)
		}
	})
}

func TestHoldDown(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		c := open(t, e, cache.Options{HoldDown: time.Hour})
		if err := c.Delete(ctx, "1", "2"); err != nil {
			t.Fatal(err)
		}
		loads := 0
		for range 2 {
			if v, err := c.GetOrLoad(ctx, "1", constant(before, &loads)); err != nil || v != before {
				t.Fatal(v, err)
			}
		}
		if loads != 2 {
			t.Fatalf("%d loads, want 2: a load was stored during the hold-down", loads)
		}
		if err := c.Set(ctx, "1", after); err != nil {
			t.Fatal(err)
		}
		if v, err := c.GetOrLoad(ctx, "1", forbidden(t)); err != nil || v != after {
			t.Fatalf("Set during the hold-down: %v, %v", v, err)
		}
	})
}
