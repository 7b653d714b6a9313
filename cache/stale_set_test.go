package cache_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

var (
	before = user{ID: "1", Name: "before", Version: 1}
	after  = user{ID: "1", Name: "after", Version: 2}
)

// The source changes and the key is invalidated during a load. Only the load's caller gets its
// value.
func TestC1_NoStaleSet(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	for _, way := range []struct {
		name       string
		invalidate func(ctx context.Context, c *cache.Cache[user]) error
		freesLease bool // the next load does not wait for the running one
		pushed     bool // another process is notified by a push
	}{
		{"Delete", func(ctx context.Context, c *cache.Cache[user]) error { return c.Delete(ctx, "u:1") }, true, false},
		{"Set", func(ctx context.Context, c *cache.Cache[user]) error { return c.Set(ctx, "u:1", after) }, false, false},
		{"SetMany", func(ctx context.Context, c *cache.Cache[user]) error {
			return c.SetMany(ctx, map[string]user{"u:1": after, "u:2": after})
		}, false, false},
		{"DeletePrefix", func(ctx context.Context, c *cache.Cache[user]) error { return c.DeletePrefix(ctx, "u:") }, true, false},
		{"InvalidateTags", func(ctx context.Context,
			c *cache.Cache[user]) error {
			return c.InvalidateTags(ctx, "staff")
		}, false, true},
		{"InvalidateAdjustedTags", func(ctx context.Context,
			c *cache.Cache[user]) error {
			return c.InvalidateTags(ctx, "late")
		}, false, true},
		{"Clear", func(ctx context.Context, c *cache.Cache[user]) error { return c.Clear(ctx) }, false, true},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			rig.Engines(t, func(t *testing.T, e rig.Engine) {
				if way.name == "DeletePrefix" && e.Name == "acl" {
					err := way.invalidate(t.Context(), open(t, e, cache.Options{}))
					if !errors.Is(err, redstart.ErrDenied) || !strings.Contains(err.Error(), "+scan") {
						t.Fatalf("got %v, want ErrDenied naming +scan", err)
					}
					return
				}
				for _, mode := range []struct {
					near       int
					optimistic bool
				}{{0, false}, {100, false}, {0, true}, {100, true}} {
					near, opts := mode.near, cache.Options{LoadTimeout: time.Hour, Near: cache.NearOptions{MaxEntries: mode.near}}
					for _, who := range []string{"same process", "another process"} {
						ctx := t.Context()
						loader, other := open(t, e, opts), open(t, e, opts)
						if mode.optimistic {
							optimistic(t, loader)
							optimistic(t, other)
						}
						warm(t, loader)
						warm(t, other)
						invalidator := loader
						if who == "another process" {
							invalidator = other
						}
						if err := loader.Delete(ctx, "u:1"); err != nil {
							t.Fatal(err)
						}
						g := newGate()
						overtaken := begin(ctx, loader, "u:1", func(ctx context.Context, key string) (user, error) {
							defer cache.Adjust(ctx, cache.Tags("late"))
							return g.load(ctx, key)
						}, cache.Tags("staff"))
						await(t, "the load", g.entered)
						if err := way.invalidate(ctx, invalidator); err != nil {
							t.Fatal(err)
						}
						if way.freesLease {
							// A second load of the same process begins and ends in between.
							second := begin(ctx, invalidator, "u:1", constantLocked(after))
							if o := await(t, "a second load, for which the lease of the first is no more",
								second); o.err != nil || o.value != after {
								t.Fatalf("%s: after the invalidation: %v, %v", who, o.value, o.err)
							}
						}
						g.release <- answer{value: before}
						if o := await(t, "the overtaken caller", overtaken); o.err != nil || o.value != before {
							t.Fatalf("%s: the overtaken caller got %v, %v, want its loaded value", who, o.value, o.err)
						}
						if v, err := invalidator.GetOrLoad(ctx, "u:1", constant(after, new(int))); err != nil || v != after {
							t.Fatalf("%s, %+v: a stale set: %v, %v", who, mode, v, err)
						}
						for _, c := range []*cache.Cache[user]{loader, other} {
							if way.pushed || near > 0 {
								rig.Eventually(t, 5*time.Second, "the push", func() bool {
									v, err := c.GetOrLoad(ctx, "u:1", constant(after, new(int)))
									return err == nil && v == after
								})
							}
							if v, err := c.GetOrLoad(ctx, "u:1", constant(after, new(int))); err != nil || v != after {
								t.Fatalf("%s: a stale set: %v, %v", who, v, err)
							}
						}
					}
				}
			})
		})
	}
}

// The token belongs to the load, not to the process: the second load of a process does not let the
// first one store.
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

// Another process invalidates a key during a load. A caller that joins after that asks again.
func TestC1_AJoinedLoadWasOvertaken(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		opts := cache.Options{MaxValueBytes: 1000}
		ours, theirs := open(t, e, opts), open(t, e, opts)
		// two of them are not stored in any case
		for _, end := range []answer{{value: before}, {err: cache.ErrNotFound}, {value: user{Name: strings.Repeat("a", 1000)}}} {
			first, second := newGate(), newGate()
			overtaken := begin(ctx, ours, "1", first.load)
			await(t, "the load", first.entered)
			if err := theirs.Delete(ctx, "1"); err != nil {
				t.Fatal(err)
			}
			late := begin(ctx, ours, "1", second.load)
			rig.Eventually(t, 10*time.Second, "it joins, or a push has detached the load before or after that", func() bool {
				return ours.Waiting("1") != 1 || len(second.entered) == 1
			})
			first.release <- end
			if o := await(t, "the first caller", overtaken); o.err != end.err || o.value != end.value {
				t.Fatalf("the first caller got %v, %v", o.value, o.err)
			}
			await(t, "the load of the late caller", second.entered)
			second.release <- answer{value: after}
			if o := await(t, "the second caller", late); o.err != nil || o.value != after {
				t.Fatalf("the caller after the invalidation got %v, %v", o.value, o.err)
			}
			if err := ours.Delete(ctx, "1"); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// The value of a load was stored, and another process has invalidated it. A caller that joins the
// load after that asks again.
func TestC1_AJoinedLoadWasStoredBefore(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		ours, theirs := open(t, e, cache.Options{}), open(t, e, cache.Options{})
		stored, goOn := make(chan struct{}), make(chan struct{})
		rig.ArmOnce(t, ours.Points(), "filled", "", func() {
			close(stored)
			<-goOn
		})
		loads := 0
		early := begin(ctx, ours, "1", constant(before, &loads))
		await(t, "the value in the server", stored)
		if err := theirs.Delete(ctx, "1"); err != nil {
			t.Fatal(err)
		}
		second := newGate()
		late := begin(ctx, ours, "1", second.load)
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
