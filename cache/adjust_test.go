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

// In a loader, Adjust changes how the value is stored: DontStore, NegativeTTL, StaleFor.
func TestAdjustDecidesHowAValueIsStored(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		c := open(t, e, cache.Options{EarlyRefresh: cache.NoEarlyRefresh})
		adjusted := func(v user, err error, opts ...cache.CallOption) cache.Loader[user] {
			return func(ctx context.Context, _ string) (user, error) {
				cache.Adjust(ctx, opts...)
				return v, err
			}
		}

		for range 2 {
			if v, err := c.GetOrLoad(ctx, "dont", adjusted(before, nil, cache.DontStore())); err != nil || v != before {
				t.Fatal(v, err)
			}
			if _, err := c.Get(ctx, "dont"); !errors.Is(err, cache.ErrNotFound) {
				t.Errorf("DontStore: Get: %v", err)
			}
		}
		if v, err := c.GetOrLoad(ctx, "dont", constant(after, new(int))); err != nil || v != after {
			t.Errorf("after DontStore: %v, %v", v, err)
		}

		if _, err := c.GetOrLoad(ctx, "none", adjusted(user{}, cache.ErrNotFound,
			cache.NegativeTTL(time.Hour))); !errors.Is(err, cache.ErrNotFound) {
			t.Fatal(err)
		}
		if _, err := c.GetOrLoad(ctx, "none", forbidden(t)); !errors.Is(err, cache.ErrNotFound) {
			t.Errorf("NegativeTTL: %v", err)
		}

		if _, err := c.GetOrLoad(ctx, "stale", adjusted(before, nil, cache.TTL(shortTTL),
			cache.StaleFor(time.Hour))); err != nil {
			t.Fatal(err)
		}
		rig.Eventually(t, 10*time.Second, "the entry is stale", func() bool {
			from := cache.FromLoader
			v, err := c.GetOrLoad(ctx, "stale", func(context.Context, string) (user, error) {
				return user{},
					errAway
			}, cache.From(&from))
			if err != nil || v != before {
				t.Fatalf("StaleFor: %v, %v", v, err)
			}
			return from == cache.FromStale
		})
	})
}

// With Detach, a load continues after its last caller has left, and stores its result. Without it,
// the context of the load ends.
func TestDetachedLoadsContinue(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		c := open(t, e, cache.Options{})
		for key, opts := range map[string][]cache.CallOption{"detached": {cache.Detach()}, "attached": nil} {
			var ended atomic.Bool
			g, over := newGate(), make(chan struct{})
			leaving, leave := context.WithCancel(t.Context())
			loading := begin(leaving, c, key, func(ctx context.Context, key string) (user, error) {
				defer close(over)
				v, err := g.load(ctx, key)
				ended.Store(ctx.Err() != nil)
				return v, err
			}, opts...)
			await(t, "the load", g.entered)
			leave()
			if got := await(t, "the caller", loading); !errors.Is(got.err, context.Canceled) {
				t.Fatal(got)
			}
			if key == "attached" {
				await(t, "the end of the load", over)
				if !ended.Load() {
					t.Error("the load's context went on without a caller")
				}
				continue
			}
			select {
			case g.release <- answer{value: after}:
			case <-over:
				t.Error("Detach: the load ended with its caller")
				continue
			}
			rig.Eventually(t, 10*time.Second, "the value is stored", func() bool {
				v, err := c.Get(t.Context(), key)
				return err == nil && v == after
			})
			if ended.Load() {
				t.Error("Detach: the load's context ended with its caller")
			}
		}
	})
}
