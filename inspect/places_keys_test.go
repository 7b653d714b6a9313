package inspect_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/inspect"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

// Caches are shown with the rights of redstart-inspect.acl and repaired with those of
// redstart-operate.acl, on one server and in a cluster.
func TestPlacesCache(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	onPlaces(t, nil, func(t *testing.T, p place) {
		users := newCache(t, p.service, "users", cache.Options{StaleFor: time.Hour})
		for i := range 8 {
			set(t, users, fmt.Sprint(i), cache.Tags("team"))
		}
		looks, repairs := p.looks.Caches(), p.repairs.Caches()
		list := pages(t, 500, func(page inspect.Page) (inspect.List[inspect.CacheInfo], error) { return looks.List(t.Context(), page) })
		if len(list) != 1 || list[0].Name != "users" || list[0].Sampled != 8 || list[0].Bytes == 0 {
			t.Errorf("listed %+v", list)
		}
		if v, err := looks.Get(t.Context(), "users", "1"); err != nil || string(v.Data) != `"secret value"` || v.Verdict != "hit" {
			t.Errorf("Get: %q, %+v, %v", v.Data, v.Verdict, err)
		}

		for name, change := range map[string]func(c *inspect.Caches) error{
			"delete":     func(c *inspect.Caches) error { return c.Delete(t.Context(), "users", "1") },
			"expire":     func(c *inspect.Caches) error { return c.Expire(t.Context(), "users", "2") },
			"invalidate": func(c *inspect.Caches) error { return c.InvalidateTag(t.Context(), "users", "team") },
			"clear":      func(c *inspect.Caches) error { return c.Clear(t.Context(), "users") },
		} {
			if err := change(looks); !errors.Is(err, inspect.ErrReadOnly) {
				t.Errorf("%s by a read-only Inspector: %v", name, err)
			}
			must(t, change(repairs))
		}
		want := map[string]string{"1": "nothing is stored", "2": "the cache was cleared", "3": "the cache was cleared"}
		for key, reason := range want {
			if why := explain(t, p.looks, key); why.Verdict != "miss" || why.Reason != reason {
				t.Errorf("key %s is a %s (%s)", key, why.Verdict, why.Reason)
			}
		}
		records := p.log.records(t)
		slices.Sort(records)
		wantLog := []string{"ana cache clear users  1", "ana cache delete users 1 1", "ana cache expire users 2 1",
			"ana cache invalidate users team 1"}
		if !slices.Equal(records, wantLog) {
			t.Errorf("the log: %v", records)
		}
	})
}

// Locks of each kind are shown and broken with the rights of the shipped users.
func TestPlacesLock(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	onPlaces(t, nil, func(t *testing.T, p place) {
		l := newLocker(t, p.service, lock.Options{TTL: time.Minute, Wait: lock.WaitForever})
		for _, kind := range []inspect.LockKind{inspect.Mutex, inspect.Semaphore, inspect.ReadWrite} {
			id := inspect.LockID{Name: "a", Kind: kind}
			held, err := acquirer(t, l, id)(t.Context())
			must(t, err)
			next := waitFor(t, l, acquirer(t, l, id))
			shown, err := p.looks.Locks().Show(t.Context(), id)
			must(t, err)
			if shown.Held != 1 || shown.Waiting != 1 {
				t.Errorf("shown %+v", shown)
			}
			listed := pages(t, 500, func(page inspect.Page) (inspect.List[inspect.Lock], error) {
				return p.looks.Locks().List(t.Context(), page)
			})
			if !slices.ContainsFunc(listed, func(one inspect.Lock) bool { return one.LockID == id }) {
				t.Errorf("%+v is not listed", id)
			}
			if _, err := p.looks.Locks().Break(t.Context(), id, ""); !errors.Is(err, inspect.ErrReadOnly) {
				t.Errorf("Break by a read-only Inspector: %v", err)
			}
			if n, err := p.repairs.Locks().Break(t.Context(), id, shown.Holders[0].ID); n != 1 || err != nil {
				t.Fatalf("Break ended %d: %v", n, err)
			}
			got := <-next
			must(t, got.Release(t.Context()))
			if err := held.Release(context.WithoutCancel(t.Context())); !errors.Is(err, lock.ErrLost) {
				t.Errorf("the release of a broken lock: %v", err)
			}
		}
	})
}
