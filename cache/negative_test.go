package cache_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

// ErrNotFound of the source is remembered, in every process and for every call.
func TestC8_NotFoundIsRemembered(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		loads := 0
		none := func(context.Context, string) (user, error) {
			loads++
			return user{}, fmt.Errorf("no such row: %w", cache.ErrNotFound)
		}
		noneOf := func(context.Context, []string) (map[string]user, error) { loads++; return nil, nil }
		opts := cache.Options{NegativeTTL: time.Minute, StaleFor: time.Minute}
		first := open(t, e, opts)
		other := open(t, e, opts)
		opts.Near = nearby.Near
		near := open(t, e, opts)
		warm(t, near)
		for key, load := range map[string]func() error{
			"one":  func() error { _, err := first.GetOrLoad(ctx, "one", none); return err },
			"many": func() error { _, err := first.GetOrLoadMany(ctx, []string{"many"}, noneOf); return err },
			"near": func() error { _, err := near.GetOrLoad(ctx, "near", none); return err },
			"near of many": func() error {
				_, err := near.GetOrLoadMany(ctx, []string{"near of many"}, noneOf)
				return err
			},
		} {
			loads = 0
			if err := load(); err != nil && !errors.Is(err, cache.ErrNotFound) || loads != 1 {
				t.Fatalf("%s: %v, %d loads", key, err, loads)
			}
			for name, c := range map[string]*cache.Cache[user]{"this process": first, "another": other,
				"one with a near cache": near} {
				for range 2 { // then it is near-cached
					was := c.Stats()
					if v, err := c.GetOrLoad(ctx, key, none); !errors.Is(err, cache.ErrNotFound) || v != (user{}) || loads != 1 {
						t.Fatalf("%s, %s: GetOrLoad: %v, %v, %d loads", key, name, v, err, loads)
					}
					if v, err := c.Get(ctx, key); !errors.Is(err, cache.ErrNotFound) || v != (user{}) {
						t.Fatalf("%s, %s: Get: %v, %v", key, name, v, err)
					}
					if got, err := c.GetOrLoadMany(ctx, []string{key}, noneOf); err != nil || len(got) != 0 || loads != 1 {
						t.Fatalf("%s, %s: GetOrLoadMany: %v, %v, %d loads", key, name, got, err, loads)
					}
					if got, err := c.GetMany(ctx, []string{key}); err != nil || len(got) != 0 {
						t.Fatalf("%s, %s: GetMany: %v, %v", key, name, got, err)
					}
					now := c.Stats()
					if n := now.NegativeHits + now.NearHits - was.NegativeHits - was.NearHits; n != 4 ||
						now.Misses != was.Misses {
						t.Fatalf("%s, %s: %d of 4 calls were counted as hits: %+v", key, name, n, now)
					}
				}
			}
		}
	})
}

// A process waits for a load of another process, which finds nothing. It does not load again.
func TestC8_WaitersGetNotFound(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		opts := cache.Options{NegativeTTL: time.Minute}
		ours, theirs := open(t, e, opts), open(t, e, opts)
		for _, many := range []bool{false, true} {
			key, g, waits := fmt.Sprint("many: ", many), newGate(), ours.Stats().Waits
			loading := begin(ctx, theirs, key, g.load)
			await(t, "the load", g.entered)
			waiting := make(chan error, 1)
			go func() {
				if !many {
					_, err := ours.GetOrLoad(ctx, key, forbidden(t))
					waiting <- err
					return
				}
				got, err := ours.GetOrLoadMany(ctx, []string{key}, func(context.Context, []string) (map[string]user, error) {
					t.Error("the loader ran")
					return nil, nil
				})
				if err == nil && len(got) == 0 {
					err = cache.ErrNotFound
				}
				waiting <- err
			}()
			rig.Eventually(t, 10*time.Second, "it waits", func() bool { return ours.Stats().Waits > waits })
			g.release <- answer{err: cache.ErrNotFound}
			if err := await(t, "the caller that waited", waiting); !errors.Is(err, cache.ErrNotFound) {
				t.Fatalf("the caller that waited got %v", err)
			}
			if o := await(t, "the caller that loaded", loading); !errors.Is(o.err, cache.ErrNotFound) {
				t.Fatalf("the caller that loaded got %v", o.err)
			}
		}
	})
}

// ErrNotFound is remembered for NegativeTTL, not for the TTL or StaleFor, and not at all without
// it.
func TestC8_NotFoundEnds(t *testing.T) {
	t.Parallel()
	e := embeddedEngine(t)
	ctx := t.Context()
	loads := 0
	none := func(context.Context, string) (user, error) { loads++; return user{}, cache.ErrNotFound }
	noneOf := func(context.Context, []string) (map[string]user, error) { loads++; return nil, nil }
	for _, negative := range []time.Duration{time.Minute, 0} {
		c := open(t, e, cache.Options{TTL: time.Hour, StaleFor: time.Hour, NegativeTTL: negative, Jitter: cache.NoJitter})
		for _, many := range []bool{false, true} {
			key := fmt.Sprint(negative, many)
			ask := func(want int) {
				t.Helper()
				loads = 0
				for range 3 {
					if many {
						if got, err := c.GetOrLoadMany(ctx, []string{key}, noneOf); err != nil || len(got) != 0 {
							t.Fatal(got, err)
						}
					} else if _, err := c.GetOrLoad(ctx, key, none); !errors.Is(err, cache.ErrNotFound) {
						t.Fatal(err)
					}
				}
				if loads != want {
					t.Fatalf("NegativeTTL %v, many %v: %d loads of three calls, want %d", negative, many, loads, want)
				}
			}
			if negative == 0 {
				ask(3)
				continue
			}
			ask(1)
			e.Embedded.Advance(negative - time.Second)
			ask(0)
			e.Embedded.Advance(2 * time.Second)
			ask(1)
		}
	}
}

// A value that the source has lost is not served stale, with and without NegativeTTL.
func TestC8_ALostValueIsNotStale(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		client := dial(t, e.URL, e.Namespace)
		for _, negative := range []time.Duration{0, time.Minute} {
			c := on(t, client, cache.Options{StaleFor: time.Hour, NegativeTTL: negative, EarlyRefresh: cache.NoEarlyRefresh})
			for _, many := range []bool{false, true} {
				key := fmt.Sprint(negative, many)
				if err := c.Set(ctx, key, before, cache.TTL(shortTTL)); err != nil {
					t.Fatal(err)
				}
				isLongStale(t, c, key)
				if many {
					got, err := c.GetOrLoadMany(ctx, []string{key},
						func(context.Context, []string) (map[string]user, error) { return nil, nil })
					if err != nil || got[key] != before {
						t.Fatal(got, err)
					}
				} else if v, err := c.GetOrLoad(ctx, key,
					func(context.Context, string) (user, error) {
						return user{},
							cache.ErrNotFound
					}); err != nil || v != before {
					t.Fatal(v, err)
				}
				want := errAway
				if negative > 0 {
					want = cache.ErrNotFound
				}
				rig.Eventually(t, 10*time.Second, "a call gets the error of the failing source, or the remembered ErrNotFound",
					func() bool {
						_, err := c.GetOrLoad(ctx, key, func(context.Context, string) (user, error) { return user{}, errAway })
						return errors.Is(err, want)
					})
			}
		}
	})
}

// A value that looks empty is a value.
func TestC8_AnEmptyValueIsAValue(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := dial(t, e.URL, e.Namespace)
		for _, near := range []cache.NearOptions{{}, nearby.Near} {
			name := fmt.Sprint("near", near.MaxEntries)
			opts := cache.Options{NegativeTTL: time.Minute, Near: near}
			storesEmpty(t, client, name+"struct", opts, user{}, func(v user) bool { return v == user{} })
			storesEmpty(t, client, name+"pointer", opts, (*user)(nil), func(v *user) bool { return v == nil })
			storesEmpty(t, client, name+"slice", opts, []string(nil), func(v []string) bool { return v == nil })
			storesEmpty(t, client, name+"string", opts, "", func(v string) bool { return v == "" })
			storesEmpty(t, client, name+"int", opts, 0, func(v int) bool { return v == 0 })
			storesEmpty(t, client, name+"any", opts, any(nil), func(v any) bool { return v == nil })
		}
	})
}

// storesEmpty loads an empty value, which every call must then find as a value.
func storesEmpty[V any](t *testing.T, client *redstart.Client, name string, opts cache.Options, nothing V, is func(V) bool) {
	t.Helper()
	ctx := t.Context()
	c, err := cache.New[V](client, name, opts)
	if err != nil {
		t.Fatal(err)
	}
	loads := 0
	load := func(context.Context, string) (V, error) { loads++; return nothing, nil }
	loadMany := func(context.Context, []string) (map[string]V, error) { loads++; return nil, nil }
	for range 3 {
		if v, err := c.GetOrLoad(ctx, "1", load); err != nil || !is(v) || loads != 1 {
			t.Fatalf("%s: GetOrLoad: %v, %v, %d loads", name, v, err, loads)
		}
		if v, err := c.Get(ctx, "1"); err != nil || !is(v) {
			t.Fatalf("%s: Get: %v, %v", name, v, err)
		}
		if got, err := c.GetMany(ctx, []string{"1"}); err != nil || len(got) != 1 || !is(got["1"]) {
			t.Fatalf("%s: GetMany: %v, %v", name, got, err)
		}
		if got, err := c.GetOrLoadMany(ctx, []string{"1"}, loadMany); err != nil || len(got) != 1 || !is(got["1"]) || loads != 1 {
			t.Fatalf("%s: GetOrLoadMany: %v, %v, %d loads", name, got, err, loads)
		}
	}
}
