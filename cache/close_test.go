package cache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

// Close ends what New started: loads, near-cached entries, metrics. Another cache with the name
// continues.
func TestCloseEndsACache(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	ctx := t.Context()
	client := dial(t, server.URL(), rig.Prefix(t))
	c, other := on(t, client, nearby), on(t, client, cache.Options{})
	rig.Eventually(t, 10*time.Second, "an entry is near-cached", func() bool {
		_, err := c.GetOrLoad(ctx, "1", constant(before, new(int)))
		return err == nil && c.Stats().NearEntries == 1
	})
	g := newGate()
	loading := begin(ctx, c, "2", g.load)
	loader := await(t, "the load", g.entered)

	for range 2 {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got := await(t, "the caller that waits", loading); !errors.Is(got.err, redstart.ErrUnavailable) {
		t.Errorf("the caller that waits got %v", got.err)
	}
	await(t, "the loader's context", loader.Done())
	if n := c.Stats().NearEntries; n != 0 {
		t.Errorf("%d near-cached entries are left", n)
	}

	many := func(context.Context, []string) (map[string]user, error) { return nil, nil }
	memo, err := cache.Memoize(c, "memo", func(context.Context, int) (user, error) { return before, nil })
	if err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{
		"Get":            func() error { _, err := c.Get(ctx, "1"); return err },
		"GetMany":        func() error { _, err := c.GetMany(ctx, []string{"1"}); return err },
		"GetOrLoad":      func() error { _, err := c.GetOrLoad(ctx, "1", forbidden(t)); return err },
		"GetOrLoadMany":  func() error { _, err := c.GetOrLoadMany(ctx, []string{"1"}, many); return err },
		"Memo.Call":      func() error { _, err := memo.Call(ctx, 1); return err },
		"Memo.Delete":    func() error { return memo.Delete(ctx, 1) },
		"Set":            func() error { return c.Set(ctx, "1", after) },
		"SetMany":        func() error { return c.SetMany(ctx, map[string]user{"1": after}) },
		"Delete":         func() error { return c.Delete(ctx, "1") },
		"DeletePrefix":   func() error { return c.DeletePrefix(ctx, "1") },
		"InvalidateTags": func() error { return c.InvalidateTags(ctx, "1") },
		"Clear":          func() error { return c.Clear(ctx) },
	} {
		if err := call(); !errors.Is(err, redstart.ErrUnavailable) || !strings.Contains(err.Error(), "closed") {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	if v, err := other.GetOrLoad(ctx, "1", forbidden(t)); err != nil || v != before {
		t.Errorf("another cache of the name: %v, %v", v, err)
	}
}

// A closed cache leaves nothing: after 100 caches, there are as many metrics as before.
func TestCloseRemovesMetrics(t *testing.T) {
	t.Parallel()
	client := dial(t, embeddedEngine(t).URL, "app")
	count := func() (series int) {
		seen := make(map[string]bool)
		for m := range client.Metrics() {
			key := fmt.Sprint(m.Name, m.Labels)
			if seen[key] {
				t.Errorf("%s is there twice", key)
			}
			seen[key] = true
			series++
		}
		return series
	}

	none := count()
	first := on(t, client, cache.Options{})
	one := count()
	second := on(t, client, cache.Options{})
	if two := count(); two != one || one == none {
		t.Errorf("%d series with no cache, %d with one, %d with two of the same name", none, one, two)
	}
	if err := errors.Join(first.Close(), second.Close()); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != none {
		t.Errorf("%d series after Close, want %d", n, none)
	}
}

// An invalidation is pending when its cache closes. It still holds for this process: for the other
// cache with the name, and for the next one.
func TestC1_CloseHandsOverPendingInvalidations(t *testing.T) {
	t.Parallel()
	for _, sibling := range []bool{false, true} {
		t.Run(fmt.Sprint("another: ", sibling), func(t *testing.T) {
			t.Parallel()
			server := rig.Standalone(t)
			ctx := t.Context()
			client := dialWith(t, redstart.Config{URL: server.URL(), Namespace: "app", CommandTimeout: downTimeout})
			c := on(t, client, cache.Options{})
			var next *cache.Cache[user]
			if sibling {
				next = on(t, client, cache.Options{})
			}
			if err := c.Set(ctx, "1", before); err != nil {
				t.Fatal(err)
			}
			server.Stop()
			if err := c.Delete(ctx, "1"); err == nil {
				t.Fatal("no error from a stopped server")
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			if !sibling {
				next = on(t, client, cache.Options{})
			}
			if n := next.Stats().PendingInvalidations; n != 1 {
				t.Fatalf("%d invalidations are pending, want 1", n)
			}
			server.Continue()
			rig.Eventually(t, 10*time.Second, "the replay", func() bool { return next.Stats().PendingInvalidations == 0 })
			if _, err := next.Get(ctx, "1"); !errors.Is(err, cache.ErrNotFound) {
				t.Fatalf("after the replay: %v", err)
			}
		})
	}
}
