package cache_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/codec"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

// release is a process of one Version in a rolling deploy.
type release struct {
	*cache.Cache[user]
	loads int
	value user // the source's value for this Version
}

func (r *release) load(context.Context, string) (user, error) {
	r.loads++
	return r.value, nil
}

func (r *release) get(t rapid.TB, key string) user {
	t.Helper()
	v, err := r.GetOrLoad(context.Background(), key, r.load)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Two Versions in a rolling deploy load a key once each, and not once per read. A change by either
// ends the entries of both (C1).
func TestC2_TwoVersionsKeepTheirEntries(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		for name, second := range map[string]cache.Options{
			"version": {Version: "2"},
			"near":    {Version: "2", Near: cache.NearOptions{MaxEntries: 100}},
			"codec":   {Version: "1", Codec: codec.CBOR},
		} {
			one, two := &release{Cache: open(t, e, cache.Options{Version: "1"})}, &release{Cache: open(t, e, second)}
			both := []*release{one, two}
			version := 0
			reads := func(after string, loads int) { // 50 reads of each, all with the newest value
				t.Helper()
				for i := range 100 {
					r := both[i%2]
					if v := r.get(t, name); v != r.value {
						t.Fatalf("%s: read %d after %s: %v, want %v", name, i, after, v, r.value)
					}
				}
				if n := one.loads + two.loads; n != loads {
					t.Errorf("%s: %d loads in 100 reads after %s, want %d", name, n, after, loads)
				}
				one.loads, two.loads = 0, 0
			}
			change := func(what string, invalidate func() error) {
				t.Helper()
				version++
				for i, r := range both {
					r.value = user{ID: fmt.Sprint("of version ", i), Version: version}
				}
				if err := invalidate(); err != nil {
					t.Fatal(what, err)
				}
			}

			change("nothing", func() error { return nil })
			reads("nothing", 2)
			change("a Delete by the first", func() error { return one.Delete(ctx, name) })
			forget(t, two, name)
			reads("a Delete by the first", 2)
			change("a Delete by the second", func() error { return two.Delete(ctx, name) })
			reads("a Delete by the second", 2)
			change("a Set by the second", func() error { return two.Set(ctx, name, two.value) })
			reads("a Set by the second", 1)
			change("a Clear by the first", func() error { return one.Clear(ctx) })
			forget(t, two, name)
			reads("a Clear by the first", 2)
		}
	})
}

// forget waits until the push has ended the near-cached entry after a change by another process.
func forget(t *testing.T, r *release, key string) {
	t.Helper()
	rig.Eventually(t, 10*time.Second, "the push", func() bool {
		_, err := r.Get(t.Context(), key)
		return errors.Is(err, cache.ErrNotFound)
	})
}

// Batches keep the entries of another Version, as single loads do.
func TestC7_BatchesKeepEntriesOfOtherVersions(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		keys := []string{"1", "2", "3"}
		loads := 0
		all := []*cache.Cache[user]{open(t, e, cache.Options{Version: "1"}), open(t, e, cache.Options{Version: "2"})}
		for range 10 {
			for _, c := range all {
				values, err := c.GetOrLoadMany(ctx, keys, func(_ context.Context, keys []string) (map[string]user, error) {
					loads += len(keys)
					values := make(map[string]user)
					for _, key := range keys {
						values[key] = after
					}
					return values, nil
				})
				if err != nil || len(values) != len(keys) {
					t.Fatal(values, err)
				}
			}
		}
		if loads != 2*len(keys) {
			t.Errorf("%d keys loaded, want %d", loads, 2*len(keys))
		}
	})
}

// An entry ends with its own TTL, although another Version's entry keeps the key alive. The same
// holds for a remembered ErrNotFound.
func TestC2_EachVersionHasItsTTL(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		opts := cache.Options{Version: "short", TTL: shortTTL, NegativeTTL: shortTTL, EarlyRefresh: cache.NoEarlyRefresh}
		short := open(t, e, opts)
		opts.Version, opts.TTL, opts.NegativeTTL = "long", time.Hour, time.Hour
		long := open(t, e, opts)
		for key, load := range map[string]cache.Loader[user]{"value": constant(before, new(int)), "none": notFound} {
			for _, c := range []*cache.Cache[user]{short, long} {
				if _, err := c.GetOrLoad(t.Context(), key, load); err != nil && !errors.Is(err, cache.ErrNotFound) {
					t.Fatal(err)
				}
			}
			rig.Eventually(t, 10*time.Second, "the short one ends", func() bool {
				v, err := short.GetOrLoad(t.Context(), key, constant(after, new(int)))
				return err == nil && v == after
			})
			if _, err := long.GetOrLoad(t.Context(), key, forbidden(t)); err != nil && !errors.Is(err, cache.ErrNotFound) {
				t.Fatal(err)
			}
		}
	})
}

// A Delete by another Version overtakes a load. The load stores neither its own value nor the
// entries that it has read (C1).
func TestC1_AnOvertakenLoadKeepsNoOtherVersion(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		one, two := open(t, e, cache.Options{Version: "1"}), open(t, e, cache.Options{Version: "2"})
		if _, err := one.GetOrLoad(t.Context(), "1", constant(before, new(int))); err != nil {
			t.Fatal(err)
		}
		g := newGate()
		loading := begin(t.Context(), two, "1", g.load)
		await(t, "the load", g.entered)
		if err := one.Delete(t.Context(), "1"); err != nil {
			t.Fatal(err)
		}
		g.release <- answer{value: before}
		if got := await(t, "the load's caller", loading); got.err != nil || got.value != before {
			t.Fatal(got)
		}
		for version, c := range []*cache.Cache[user]{one, two} {
			if v, err := c.Get(t.Context(), "1"); !errors.Is(err, cache.ErrNotFound) {
				t.Errorf("version %d: %v, %v", version+1, v, err)
			}
		}
	})
}

// Expire makes the entries of all Versions stale. Each Version serves its own while it reloads. The
// first new entry replaces all of them.
func TestExpireEndsSeveralEntries(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		all := []*cache.Cache[user]{open(t, e, cache.Options{Version: "1"}), open(t, e, cache.Options{Version: "2"})}
		for _, c := range all {
			if v, err := c.GetOrLoad(ctx, "1", constant(before, new(int))); err != nil || v != before {
				t.Fatal(v, err)
			}
		}
		if err := all[0].Expire(ctx, "1"); err != nil {
			t.Fatal(err)
		}
		failing := func(context.Context, string) (user, error) { return user{}, errAway }
		for i, c := range all {
			if v, err := c.Get(ctx, "1"); !errors.Is(err, cache.ErrNotFound) {
				t.Errorf("version %d: Get: %v, %v", i+1, v, err)
			}
			from := cache.FromLoader
			if v, err := c.GetOrLoad(ctx, "1", failing, cache.From(&from)); err != nil || v != before || from != cache.FromStale {
				t.Errorf("version %d: %v, %v, from %v", i+1, v, err, from)
			}
		}
		for i, c := range all {
			rig.Eventually(t, 10*time.Second, "the failing reloads have ended", func() bool {
				v, err := c.Refresh(ctx, "1", constant(after, new(int)))
				return err == nil && v == after
			})
			if v, err := all[1].Get(ctx, "1"); (err == nil) != (i == 1) || err == nil && v != after {
				t.Errorf("the second after a reload of version %d: %v, %v", i+1, v, err)
			}
		}
		if v, err := all[0].Get(ctx, "1"); err != nil || v != after {
			t.Errorf("the first: %v, %v", v, err)
		}
	})
}

// A value holds at most four entries, and at most MaxValueBytes of other Versions.
func TestVersionsOfAValueAreBounded(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := dial(t, e.URL, e.Namespace)
		size := func(key string) int64 {
			r := rigclient.Redis(t, client)
			n, err := r.Do(t.Context(), r.B().Strlen().Key(e.Namespace+":cache:users:{"+key+"}").Build()).AsInt64()
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		for _, bound := range []struct {
			key      string
			bytes    int // of each value
			versions int
		}{{"count", 10, 4}, {"bytes", 900, 3}} {
			value := user{Name: strings.Repeat("x", bound.bytes)}
			var sizes []int64
			for version := range 8 {
				opts := cache.Options{Version: fmt.Sprint(version), MaxValueBytes: 2000, CompressAbove: cache.NoCompression}
				if v, err := open(t, e, opts).GetOrLoad(t.Context(), bound.key,
					constant(value, new(int))); err != nil || v != value {
					t.Fatal(v, err)
				}
				sizes = append(sizes, size(bound.key))
			}
			largest := sizes[bound.versions-1]
			if slices.Max(sizes) != largest || sizes[7] != largest || sizes[bound.versions-2] >= largest {
				t.Errorf("%s: sizes of the value: %v, want growth for %d entries", bound.key, sizes, bound.versions)
			}
		}
	})
}

// Processes of three Versions use one key. Each load, Get, Set, Expire and Delete leaves the
// entries of the model.
func TestC2_VersionsEqualTheirModel(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		var all []*release
		for version := range 3 {
			all = append(all, &release{Cache: open(t, e,
				cache.Options{Version: fmt.Sprint(version), StaleFor: time.Hour,
					EarlyRefresh: cache.NoEarlyRefresh})})
		}
		round := 0
		rapid.Check(t, func(t *rapid.T) {
			round++
			key := fmt.Sprint("key ", round)
			stored := make(map[*release]user)
			value := 0
			for range rapid.IntRange(1, 20).Draw(t, "steps") {
				r := rapid.SampledFrom(all).Draw(t, "release")
				value++
				r.value = user{Version: value}
				switch what := rapid.SampledFrom([]string{"get", "load", "load", "delete", "set"}).Draw(t, "what"); what {
				case "get":
					v, err := r.Get(context.Background(), key)
					if want, ok := stored[r]; ok && v != want || ok == errors.Is(err, cache.ErrNotFound) {
						t.Fatalf("Get: %v, %v, want %v, %v", v, err, want, ok)
					}
				case "load":
					if _, ok := stored[r]; !ok {
						stored[r] = r.value
					}
					if v := r.get(t, key); v != stored[r] {
						t.Fatalf("GetOrLoad: %v, want %v", v, stored[r])
					}
				case "set":
					clear(stored)
					stored[r] = r.value
					if err := r.Set(context.Background(), key, r.value); err != nil {
						t.Fatal(err)
					}
				case "delete":
					clear(stored)
					if err := r.Delete(context.Background(), key); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	})
}
