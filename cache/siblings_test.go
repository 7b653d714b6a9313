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

// Two Caches with one name and client are one process. Neither serves a key whose invalidation by
// the other failed, also from its near cache.
func TestC1_CachesOfOneNameSharePending(t *testing.T) {
	t.Parallel()
	for name, fail := range invalidations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, server := t.Context(), rig.Standalone(t)
			refuse := func(yes string) { server.CLI("CONFIG", "SET", "min-replicas-to-write", yes) }
			client := dial(t, server.URL(), "app")
			one, other := on(t, client, cache.Options{}), on(t, client, nearby)
			another, err := cache.New[user](client, "others", nearby) // of another name
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range []*cache.Cache[user]{other, another} {
				if err := c.Set(ctx, "1", before, cache.Tags("tag")); err != nil {
					t.Fatal(err)
				}
				bring(t, []string{"1"}, before, c)
			}
			refuse("1")
			if err := fail(ctx, one); err == nil {
				t.Fatal("no error from a server that refuses writes")
			}
			for round := range 2 {
				// In the second round, the other Cache has the value that it has loaded since (C4).
				if v, err := other.Get(ctx, "1"); err == nil && (round == 0 || v != after) || errors.Is(err, cache.ErrNotFound) {
					t.Fatalf("Get of the other Cache: %v, %v: the server has the value whose invalidation failed", v, err)
				}
				if got, err := other.GetMany(ctx, []string{"1"}); err == nil && (round == 0 || got["1"] != after) {
					t.Fatalf("GetMany of the other Cache: %v, %v", got, err)
				}
				if v, err := other.GetOrLoad(ctx, "1", constantLocked(after)); err != nil || v != after {
					t.Fatalf("GetOrLoad of the other Cache: %v, %v", v, err)
				}
				got, err := other.GetOrLoadMany(ctx, []string{"1"}, func(context.Context, []string) (map[string]user, error) {
					return map[string]user{"1": after}, nil
				})
				if err != nil || got["1"] != after {
					t.Fatalf("GetOrLoadMany of the other Cache: %v, %v", got, err)
				}
			}
			if v, err := another.Get(ctx, "1"); err != nil || v != before {
				t.Errorf("a Cache of another name: %v, %v", v, err)
			}
			if s := other.Stats(); s.PendingInvalidations != 0 {
				t.Errorf("a failure of one Cache is counted for the other: %+v", s)
			}
			refuse("0")
			if v, err := other.GetOrLoad(ctx, "1", constantLocked(after)); err != nil || v != after {
				t.Fatalf("%v, %v once the server takes writes", v, err)
			}
			rig.Eventually(t, 10*time.Second, "nothing is pending", func() bool { return one.Stats().PendingInvalidations == 0 })
			for what, c := range map[string]*cache.Cache[user]{"this one": one, "the other": other} {
				if v, err := c.GetOrLoad(ctx, "1", constantLocked(after)); err != nil || v != after {
					t.Fatalf("%s: %v, %v in the end", what, v, err)
				}
			}
		})
	}
}

// The server can't be reached and can't list the keys of a prefix. The near cache of the other
// Cache does not serve them either.
func TestC1_CachesOfOneNameForgetAPrefix(t *testing.T) {
	t.Parallel()
	server, ctx := rig.Standalone(t), t.Context()
	client := dialWith(t, redstart.Config{URL: server.URL(), Namespace: "app", CommandTimeout: downTimeout})
	one, other := on(t, client, cache.Options{}), on(t, client, nearby)
	for _, key := range []string{"p:1", "q:1"} {
		if err := other.Set(ctx, key, before); err != nil {
			t.Fatal(err)
		}
		bring(t, []string{key}, before, other)
	}
	server.Stop()
	defer server.Continue()
	if err := one.DeletePrefix(ctx, "p:"); err == nil {
		t.Fatal("no error without a server")
	}
	if v, err := other.GetOrLoad(ctx, "p:1", constantLocked(after)); err != nil || v != after {
		t.Errorf("%v, %v: the other Cache serves a value that the first one invalidated", v, err)
	}
	if v, err := other.GetOrLoad(ctx, "q:1", forbidden(t)); err != nil || v != before {
		t.Errorf("%v, %v: a key that was not to be invalidated", v, err)
	}
}

// One Cache stores a value after an invalidation by the other failed. The replay does not end it.
func TestC1_CachesOfOneNameConfirmForEachOther(t *testing.T) {
	t.Parallel()
	ctx, r := t.Context(), newRefusal(t, cache.Options{})
	other := on(t, r.client, cache.Options{})
	r.refuse(true)
	if err := r.ours.Delete(ctx, "1", "2"); err == nil {
		t.Fatal("no error from a server that refuses writes")
	}
	await(t, "the replay", r.replays)
	r.refuse(false)
	if err := other.Set(ctx, "1", after); err != nil {
		t.Fatal(err)
	}
	if n := r.ours.Stats().PendingInvalidations; n != 1 {
		t.Fatalf("%d pending, want 1: the key that the other Cache has stored since is not pending", n)
	}
	r.repeat()
	if v, err := other.Get(ctx, "1"); err != nil || v != after {
		t.Fatalf("%v, %v: the replay ended a value that was stored later", v, err)
	}
}
