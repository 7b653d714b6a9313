package cache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/rig"
)

// Failed invalidations are replayed in the background. They delay no call, and only their keys are
// not read.
func TestC4_ReplaysConcernTheirKeysAlone(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(ctx context.Context, c *cache.Cache[user]) error{
		"DeletePrefix":   func(ctx context.Context, c *cache.Cache[user]) error { return c.DeletePrefix(ctx, "p:") },
		"Delete":         func(ctx context.Context, c *cache.Cache[user]) error { return c.Delete(ctx, "p:1") },
		"InvalidateTags": func(ctx context.Context, c *cache.Cache[user]) error { return c.InvalidateTags(ctx, "tag") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, r := t.Context(), newRefusal(t, cache.Options{})
			if err := r.theirs.Set(ctx, "p:1", before, cache.Tags("tag")); err != nil {
				t.Fatal(err)
			}
			for i := range 20 {
				if err := r.theirs.Set(ctx, fmt.Sprint("q:", i), before, cache.Tags("other")); err != nil {
					t.Fatal(err)
				}
			}
			r.refuse(true)
			if err := fail(ctx, r.ours); err == nil {
				t.Fatal("no error from a server that refuses writes")
			}
			await(t, "the replay", r.replays) // it is held there
			r.refuse(false)

			short, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			var keys []string
			for i := range 20 {
				key := fmt.Sprint("q:", i)
				keys = append(keys, key)
				if v, err := r.ours.GetOrLoad(short, key, forbidden(t)); err != nil || v != before {
					t.Fatalf("%s: %v, %v", key, v, err)
				}
			}
			got, err := r.ours.GetOrLoadMany(short, keys, func(context.Context, []string) (map[string]user, error) {
				t.Error("the loader ran")
				return nil, nil
			})
			if err != nil || len(got) != len(keys) {
				t.Fatal(len(got), err)
			}
			if v, err := r.ours.GetOrLoad(short, "p:1", constantLocked(after), cache.Tags("tag")); err != nil || v != after {
				t.Fatalf("%v, %v: the key is loaded", v, err)
			}
			r.repeat()
			r.ends("p:1")
		})
	}
}

// changes calls fn when this process announces a change of a key. That is between the server's
// answer and the end of the call.
type changes struct{ fn func(key string) }

func (c *changes) Invalidate(key string) { c.fn(key) }
func (c *changes) Flush()                {}

// A Set that succeeds does not end the pending invalidation of a Delete that failed after it.
func TestC1_ASetConfirmsOnlyWhatWasBefore(t *testing.T) {
	t.Parallel()
	ctx, r := t.Context(), newRefusal(t, cache.Options{})
	var once atomic.Bool
	failed := make(chan error, 1)
	t.Cleanup(clientcore.Of(r.client).Hub().Track("app:cache:users:", &changes{func(key string) {
		if key == "app:cache:users:{1}" && !once.Swap(true) {
			r.refuse(true)
			failed <- r.ours.Delete(ctx, "1")
			r.refuse(false)
		}
	}}))
	if err := r.ours.Set(ctx, "1", before); err != nil {
		t.Fatal(err)
	}
	if err := await(t, "the Delete", failed); err == nil {
		t.Fatal("no error from a server that refuses writes")
	}
	if n := r.ours.Stats().PendingInvalidations; n != 1 {
		t.Fatalf("%d pending invalidations, want 1: the Delete failed after the Set", n)
	}
	r.repeat()
	r.ends("1")
}

// A Clear that succeeds includes all invalidations that failed before it.
func TestC1_AClearConfirmsAll(t *testing.T) {
	t.Parallel()
	ctx, r := t.Context(), newRefusal(t, cache.Options{})
	other := on(t, r.client, cache.Options{})
	r.refuse(true)
	for name, err := range map[string]error{
		"Delete": r.ours.Delete(ctx, "1"), "DeletePrefix": r.ours.DeletePrefix(ctx, "p:"),
		"InvalidateTags": r.ours.InvalidateTags(ctx, "tag"),
	} {
		if name != "DeletePrefix" && err == nil {
			t.Fatal("no error from a server that refuses writes")
		}
	}
	await(t, "the replay", r.replays)
	r.refuse(false)
	if err := other.Clear(ctx); err != nil {
		t.Fatal(err)
	}
	if n := r.ours.Stats().PendingInvalidations; n != 0 {
		t.Errorf("%d pending invalidations after a Clear", n)
	}
	r.repeat()
}

// With more pending prefixes than maxPendingPrefixes, a Clear is pending in their place.
func TestC1_TooManyPendingPrefixesAreAClear(t *testing.T) {
	t.Parallel()
	ctx, r := t.Context(), newRefusal(t, cache.Options{})
	keys := make(map[string]user)
	for i := range cache.MaxPendingPrefixes + 1 {
		keys[fmt.Sprintf("p%d:", i)] = before
	}
	if err := r.theirs.SetMany(ctx, keys); err != nil {
		t.Fatal(err)
	}
	r.refuse(true)
	for i := range cache.MaxPendingPrefixes + 1 {
		if err := r.ours.DeletePrefix(ctx, fmt.Sprintf("p%d:", i)); err == nil {
			t.Fatal("no error from a server that refuses writes")
		}
		want := int64(i + 1)
		if i == cache.MaxPendingPrefixes {
			want = 1
		}
		if n := r.ours.Stats().PendingInvalidations; n != want {
			t.Fatalf("%d pending invalidations of %d prefixes, want %d", n, i+1, want)
		}
	}
	r.refuse(false)
	r.repeat()
	for key := range keys {
		r.ends(key)
	}
}

// A dead node delays only the replays of its own keys.
func TestC4_ADeadNodeDelaysItsOwnReplays(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	cluster := rig.NewCluster(t, rig.NoReplicas(), rig.NodeArgs("--cluster-require-full-coverage", "no"))
	namespace, ctx := rig.Prefix(t), t.Context()
	client := dialWith(t, redstart.Config{URL: cluster.URL(), Namespace: namespace, CommandTimeout: downTimeout})
	c := on(t, client, cache.Options{TTL: time.Hour})
	warm(t, c)
	node := func(sibling string) *rig.Server { return cluster.Primary(namespace + ":cache:users:" + sibling) }
	dead := node("{0}")
	var there, away []string // keys of healthy nodes, and of the dead one
	for i := range 300 {
		if key := fmt.Sprint(i); node("{"+key+"}") == dead {
			away = append(away, key)
		} else {
			there = append(there, key)
		}
	}

	// All invalidations fail: the healthy nodes refuse writes for a moment.
	for _, s := range cluster.Nodes() {
		if s != dead {
			s.CLI("CONFIG", "SET", "min-replicas-to-write", "1")
		}
	}
	dead.Kill()
	if err := c.Delete(ctx, append(there, away...)...); err == nil {
		t.Fatal("no error from servers that refuse writes")
	}
	if n := int(c.Stats().PendingInvalidations); n != len(there)+len(away) {
		t.Fatalf("%d pending, want all of %d", n, len(there)+len(away))
	}
	for _, s := range cluster.Nodes() {
		if s != dead {
			s.CLI("CONFIG", "SET", "min-replicas-to-write", "0")
		}
	}
	rig.Eventually(t, 20*time.Second, "the keys of the healthy nodes are confirmed",
		func() bool { return int(c.Stats().PendingInvalidations) == len(away) })
	for _, key := range there {
		if v, err := c.GetOrLoad(ctx, key, constantLocked(after)); err != nil || v != after {
			t.Fatal(v, err)
		}
	}
	if _, err := c.Get(ctx, away[0]); !errors.Is(err, redstart.ErrUnavailable) || !strings.Contains(err.Error(), "replayed") {
		t.Errorf("%v, want the pending invalidation", err)
	}
}
