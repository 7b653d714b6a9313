package cache_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

func TestFromReportsTheSource(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		opts := cache.Options{StaleFor: time.Hour, NegativeTTL: time.Hour, EarlyRefresh: cache.NoEarlyRefresh}
		c := open(t, e, opts)
		missing := func(context.Context, string) (user, error) { return user{}, cache.ErrNotFound }
		want := func(c *cache.Cache[user], key string, load cache.Loader[user], want cache.Source) {
			t.Helper()
			got := cache.FromNear // the result of an earlier call
			if want == got {
				got = cache.FromLoader
			}
			if _, err := c.GetOrLoad(t.Context(), key, load, cache.TTL(time.Hour),
				cache.From(&got)); err != nil && !errors.Is(err, cache.ErrNotFound) {
				t.Fatal(err)
			}
			if got != want {
				t.Errorf("the answer came from %v, want %v", got, want)
			}
		}
		want(c, "1", constant(after, new(int)), cache.FromLoader)
		want(c, "1", forbidden(t), cache.FromServer)
		want(c, "missing", missing, cache.FromLoader)
		want(c, "missing", forbidden(t), cache.FromServer)

		if err := c.Set(t.Context(), "2", before, cache.TTL(shortTTL)); err != nil {
			t.Fatal(err)
		}
		isStale(t, c, "2")
		g := newGate()
		want(c, "2", g.load, cache.FromStale)
		await(t, "the reload", g.entered)
		g.release <- answer{value: after}

		opts.Near.MaxEntries = 1000
		near := open(t, e, opts)
		warm(t, near)
		for key, load := range map[string]cache.Loader[user]{"1": forbidden(t), "missing": forbidden(t)} {
			rig.Eventually(t, 10*time.Second, key+" is near-cached", func() bool {
				was := near.Stats().NearHits
				if _, err := near.GetOrLoad(t.Context(), key, load); err != nil && !errors.Is(err, cache.ErrNotFound) {
					t.Fatal(err)
				}
				return near.Stats().NearHits > was
			})
			want(near, key, load, cache.FromNear)
		}
	})
}
