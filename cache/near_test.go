package cache_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

var nearby = cache.Options{Near: cache.NearOptions{MaxEntries: 1000}}

// tracked runs suite on the engines that push invalidations.
func tracked(t *testing.T, suite func(t *testing.T, e rig.Engine)) {
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		suite(t, e)
	})
}

func TestC3_OthersWritesEndNearEntries(t *testing.T) {
	t.Parallel()
	tracked(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		a, b := open(t, e, nearby), open(t, e, nearby)
		warm(t, a)
		warm(t, b)
		key := e.Namespace + ":cache:users:{1}"
		r := rigclient.Redis(t, dial(t, e.URL, e.Namespace))
		for name, change := range map[string]func() error{
			"Delete":         func() error { return b.Delete(ctx, "1") },
			"Set":            func() error { return b.Set(ctx, "1", user{Name: "set"}) },
			"Clear":          func() error { return b.Clear(ctx) },
			"InvalidateTags": func() error { return b.InvalidateTags(ctx, "tag") },
			"DEL by hand":    func() error { return r.Do(ctx, r.B().Del().Key(key).Build()).Error() },
			"SET by hand":    func() error { return r.Do(ctx, r.B().Set().Key(key).Value("?").ExSeconds(9).Build()).Error() },
		} {
			if err := a.Delete(ctx, "1"); err != nil {
				t.Fatal(err)
			}
			rig.Eventually(t, 10*time.Second, name+": the value is near-cached", func() bool {
				if _, err := a.GetOrLoad(ctx, "1", constant(before, new(int)), cache.Tags("tag")); err != nil {
					t.Fatal(err)
				}
				was := a.Stats().NearHits
				if v, err := a.Get(ctx, "1"); err != nil || v != before {
					t.Fatalf("%s: %v, %v", name, v, err)
				}
				return a.Stats().NearHits == was+1
			})
			if err := change(); err != nil {
				t.Fatal(name, err)
			}
			rig.Eventually(t, 5*time.Second, name+" ends the near-cached entry", func() bool {
				v, err := a.Get(ctx, "1")
				return errors.Is(err, cache.ErrNotFound) || err == nil && v.Name == "set"
			})
		}
	})
}

// In this process a change has no delay, also with a second Cache of the name.
func TestC3_ReadsItsOwnWrites(t *testing.T) {
	t.Parallel()
	tracked(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		client := dial(t, e.URL, e.Namespace)
		a, b := on(t, client, nearby), on(t, client, nearby)
		for i := range 200 {
			want := user{Version: i}
			if err := a.Set(ctx, "1", want, cache.Tags("tag")); err != nil {
				t.Fatal(err)
			}
			for _, c := range []*cache.Cache[user]{a, b, a, b} {
				if v, err := c.Get(ctx, "1"); err != nil || v != want {
					t.Fatalf("%d: got %v, %v", i, v, err)
				}
			}
			var err error
			switch i % 3 {
			case 0:
				err = a.Delete(ctx, "1")
			case 1:
				err = a.InvalidateTags(ctx, "tag")
			case 2:
				err = a.Clear(ctx)
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range []*cache.Cache[user]{b, a} {
				if v, err := c.Get(ctx, "1"); !errors.Is(err, cache.ErrNotFound) {
					t.Fatalf("%d: got %v, %v", i, v, err)
				}
			}
		}
	})
}

func TestC3_LostConnectionMakesSuspect(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	proxy := rig.NewProxy(t, server.Addr())
	e := rig.Engine{URL: proxy.URL(), Namespace: rig.Prefix(t)}
	ctx := t.Context()
	client := dial(t, e.URL, e.Namespace)
	c := on(t, client, nearby)
	other := on(t, dial(t, server.URL(), e.Namespace), nearby)
	loads := 0
	for range 2 {
		if _, err := c.GetOrLoad(ctx, "1", constant(before, &loads)); err != nil {
			t.Fatal(err)
		}
	}
	if s := c.Stats(); s.NearHits != 1 {
		t.Fatalf("%+v", s)
	}
	proxy.StallReplies()
	if err := other.Set(ctx, "1", after); err != nil { // its push is lost
		t.Fatal(err)
	}
	proxy.Refuse()
	pushes := listen(t, client, e.Namespace)
	proxy.Cut()
	await(t, "the loss of the connection", pushes.flushes)
	if v, err := c.Get(ctx, "1"); err != nil || v != before { // while the server can't be reached (C4)
		t.Fatal(v, err)
	}
	if err := proxy.Accept(); err != nil {
		t.Fatal(err)
	}
	proxy.Resume()
	rig.Eventually(t, 10*time.Second, "the new value", func() bool {
		hits := c.Stats().Hits
		v, err := c.Get(ctx, "1")
		if err == nil && v != after && c.Stats().Hits > hits {
			t.Fatalf("got %v from the server after the connection was lost", v)
		}
		return err == nil && v == after
	})
}

func TestC3_NearTTL(t *testing.T) {
	t.Parallel()
	tracked(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		c := open(t, e, cache.Options{Near: cache.NearOptions{MaxEntries: 10, TTL: 300 * time.Millisecond}})
		if err := c.Set(ctx, "1", before); err != nil {
			t.Fatal(err)
		}
		rig.Eventually(t, 5*time.Second, "a near-cache hit", func() bool {
			_, err := c.Get(ctx, "1")
			return err == nil && c.Stats().NearHits > 0
		})
		rig.Eventually(t, 5*time.Second, "another hit of the server", func() bool {
			_, err := c.Get(ctx, "1")
			return err == nil && c.Stats().Hits > 1
		})
	})
}

type tree struct {
	Name  string
	Leafs []string
}

type cloner struct {
	Leafs  []string
	clones int
}

func (c cloner) Clone() cloner {
	return cloner{Leafs: append([]string(nil), c.Leafs...), clones: c.clones + 1}
}

// A near-cached entry keeps its value in memory, and not the reply that it was read from.
func TestNearKeepsOnlyItsValues(t *testing.T) {
	rig.Need(t, rig.TierAll)
	server := rig.Shared(t)
	client := dial(t, server.URL(), rig.Prefix(t))
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	keeps(t, client, "strings", heap, func(s string) string { return s })
	keeps(t, client, "structs", heap, func(s string) user { return user{Name: s} })
	keeps(t, client, "bytes", heap, func(s string) []string { return []string{s} })
}

func keeps[V any](t *testing.T, client *redstart.Client, name string, heap func() int64, of func(string) V) {
	t.Helper()
	const entries, size = 200, 100 << 10
	ctx, opts := t.Context(), cache.Options{Near: cache.NearOptions{MaxEntries: 10 * entries}, CompressAbove: cache.NoCompression}
	for _, way := range []string{"read", "read many", "loaded", "loaded many"} {
		c, err := cache.New[V](client, name+way, opts)
		if err != nil {
			t.Fatal(err)
		}
		load := func(context.Context, string) (V, error) { return of(strings.Repeat("a", size)), nil }
		loadMany := func(ctx context.Context, keys []string) (map[string]V, error) {
			values := make(map[string]V)
			for _, key := range keys {
				values[key], _ = load(ctx, key)
			}
			return values, nil
		}
		was := heap()
		for i := range entries {
			key := fmt.Sprint(i)
			var err error
			if way == "read" || way == "read many" {
				err = c.Set(ctx, key, of(strings.Repeat("a", size)))
			}
			switch way {
			case "read":
				_, err = c.Get(ctx, key)
			case "read many":
				_, err = c.GetMany(ctx, []string{key})
			case "loaded":
				_, err = c.GetOrLoad(ctx, key, load)
			case "loaded many":
				_, err = c.GetOrLoadMany(ctx, []string{key}, loadMany)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		kept, n := heap()-was, c.Stats().NearEntries
		if n < entries/2 || kept > n*size*3/2 {
			t.Errorf("%s, %s: %d KiB for each of %d near-cached entries of 100 KiB", name, way, kept>>10/max(n, 1), n)
		}
		runtime.KeepAlive(c)
	}
}

func TestC3_NearHitAllocatesNothing(t *testing.T) {
	server := rig.Shared(t)
	c := on(t, dial(t, server.URL(), rig.Prefix(t)), nearby)
	ctx := t.Context()
	load := func(context.Context, string) (user, error) { return before, nil }
	for range 2 {
		if _, err := c.GetOrLoad(ctx, "1", load, cache.TTL(time.Minute), cache.Tags("a", "b")); err != nil {
			t.Fatal(err)
		}
	}
	was := c.Stats().NearHits
	n := testing.AllocsPerRun(1000, func() {
		if _, err := c.GetOrLoad(ctx, "1", load, cache.TTL(time.Minute), cache.Tags("a", "b")); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 || c.Stats().NearHits < was+1000 {
		t.Fatalf("%v allocations per near hit; %d near hits", n, c.Stats().NearHits-was)
	}
}
