package cache_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

func numbered(from, to int) (keys []string, values map[string]user) {
	values = make(map[string]user)
	for i := from; i < to; i++ {
		key := fmt.Sprint(i)
		keys = append(keys, key)
		values[key] = user{ID: key, Version: i}
	}
	return keys, values
}

func TestC7_BatchEqualsItsParts(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		for _, opts := range []cache.Options{{NegativeTTL: time.Minute}, {NegativeTTL: time.Minute, Near: nearby.Near}} {
			ctx := t.Context()
			c := open(t, e, opts)
			if err := c.Clear(ctx); err != nil {
				t.Fatal(err)
			}
			keys, want := numbered(0, 300)
			_, stored := numbered(0, 100)
			if err := c.SetMany(ctx, stored); err != nil {
				t.Fatal(err)
			}
			got, err := c.GetMany(ctx, keys)
			if err != nil || !maps.Equal(got, stored) {
				t.Fatalf("GetMany: %d values, %v", len(got), err)
			}
			var asked []string
			load := func(_ context.Context, keys []string) (map[string]user, error) {
				asked = append(asked, keys...)
				found := make(map[string]user)
				for _, key := range keys {
					if v, ok := want[key]; ok && v.Version < 200 {
						found[key] = v
					}
				}
				return found, nil
			}
			_, expect := numbered(0, 200)
			for i := range 3 {
				got, err = c.GetOrLoadMany(ctx, append(keys, keys[:10]...), load)
				if err != nil || !maps.Equal(got, expect) {
					t.Fatalf("%d: GetOrLoadMany: %d values, %v", i, len(got), err)
				}
			}
			slices.Sort(asked)
			missing := slices.Clone(keys[100:])
			slices.Sort(missing)
			if !slices.Equal(asked, missing) {
				t.Fatalf("the loader was asked for %d keys, want each of %d once", len(asked), len(missing))
			}
			for _, key := range keys {
				v, err := c.GetOrLoad(ctx, key, forbidden(t))
				if want := expect[key]; v != want || (err == nil) != (want != user{}) && key != "0" {
					t.Fatalf("%s: %v, %v", key, v, err)
				}
			}
		}
	})
}

func TestC7_RoundTrips(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	c := on(t, dial(t, server.URL(), rig.Prefix(t)), cache.Options{})
	ctx := t.Context()
	keys, values := numbered(0, 400)
	load := func(_ context.Context, keys []string) (map[string]user, error) { return values, nil }
	if _, err := c.GetOrLoadMany(ctx, keys[:1], load); err != nil {
		t.Fatal(err)
	}
	was := server.CommandStats()
	if _, err := c.GetOrLoadMany(ctx, keys, load); err != nil {
		t.Fatal(err)
	}
	now := server.CommandStats()
	if n := now["mget"] - was["mget"]; n != 1 {
		t.Errorf("%d MGETs for the misses, want 1", n)
	}
	if n := now["evalsha"] - was["evalsha"]; n != 399 {
		t.Errorf("%d scripts for 399 misses, want a fill each", n)
	}
	was = now
	if got, err := c.GetOrLoadMany(ctx, keys, load); err != nil || !maps.Equal(got, values) {
		t.Fatal(len(got), err)
	}
	now = server.CommandStats()
	if mget, other := now["mget"]-was["mget"], now["evalsha"]-was["evalsha"]+now["get"]-was["get"]; mget != 1 || other != 0 {
		t.Errorf("%d MGETs and %d other commands for 400 hits, want 1 and 0", mget, other)
	}
}

// A batch and single calls of several processes load each key once.
func TestC2_BatchesAndSinglesShareLeases(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		keys, values := numbered(0, 60)
		var mu sync.Mutex
		loads := make(map[string]int)
		var wg sync.WaitGroup
		var failed atomic.Pointer[string]
		fail := func(format string, args ...any) {
			text := fmt.Sprintf(format, args...)
			failed.CompareAndSwap(nil, &text)
		}
		batch := func(_ context.Context, keys []string) (map[string]user, error) {
			mu.Lock()
			defer mu.Unlock()
			found := make(map[string]user)
			for _, key := range keys {
				loads[key]++
				found[key] = values[key]
			}
			return found, nil
		}
		for p := range 3 {
			c := open(t, e, cache.Options{})
			for b := range 3 {
				wg.Go(func() {
					part := keys[10*b : 10*b+40]
					got, err := c.GetOrLoadMany(ctx, part, batch)
					if err != nil || len(got) != len(part) {
						fail("process %d, batch %d: %d values, %v", p, b, len(got), err)
					}
				})
			}
			for _, key := range keys {
				wg.Go(func() {
					v, err := c.GetOrLoad(ctx, key, func(ctx context.Context, key string) (user, error) {
						values, err := batch(ctx, []string{key})
						return values[key], err
					})
					if err != nil || v != values[key] {
						fail("process %d, %s: %v, %v", p, key, v, err)
					}
				})
			}
		}
		wg.Wait()
		if text := failed.Load(); text != nil {
			t.Fatal(*text)
		}
		for _, key := range keys {
			if loads[key] != 1 {
				t.Errorf("%s was loaded %d times", key, loads[key])
			}
		}
	})
}

func TestBatchErrors(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		c := open(t, e, cache.Options{LoadTimeout: time.Hour})
		if err := c.Set(ctx, "0", before); err != nil {
			t.Fatal(err)
		}
		broken := errors.New("the database is away")
		got, err := c.GetOrLoadMany(ctx, []string{"0", "1", "2"},
			func(context.Context, []string) (map[string]user, error) { return nil, broken })
		var partial *cache.BatchError
		if !errors.As(err, &partial) || len(partial.Keys) != 2 || partial.Keys["1"] != broken || !errors.Is(err, broken) {
			t.Fatalf("got %v", err)
		}
		if len(got) != 1 || got["0"] != before {
			t.Fatalf("got %v", got)
		}
		_, values := numbered(0, 3)
		if got, err = c.GetOrLoadMany(ctx, []string{"1", "2"},
			func(context.Context, []string) (map[string]user, error) { return values, nil }); err != nil ||
			len(got) != 2 {
			t.Fatalf("the leases of the failed load were not given back: %v, %v", got, err)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Fatal("the panic was swallowed")
				}
			}()
			c.GetOrLoadMany(ctx, []string{"8", "9"}, func(context.Context, []string) (map[string]user, error) { panic("boom") })
		}()
		next := begin(ctx, c, "9", constantLocked(after))
		if o := await(t, "a load after the panic, which has given its leases back", next); o.err != nil || o.value != after {
			t.Fatal(o.value, o.err)
		}
	})
}

// The cancellation of one batch fails neither a batch nor a single call that wait for the same
// load.
func TestC9_BatchCancellationFailsNoOtherCall(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		c := open(t, e, cache.Options{LoadTimeout: time.Hour})
		warm(t, c)
		entered, release := make(chan context.Context, 1), make(chan struct{})
		load := func(ctx context.Context, keys []string) (map[string]user, error) {
			entered <- ctx
			select {
			case <-release:
				return map[string]user{"1": after, "2": after}, nil
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		leader, leave := context.WithCancel(t.Context())
		first := make(chan error, 1)
		go func() {
			_, err := c.GetOrLoadMany(leader, []string{"1", "2"}, load)
			first <- err
		}()
		loading := await(t, "the load", entered)
		second := begin(t.Context(), c, "1", func(context.Context, string) (user, error) {
			return user{},
				errors.New("a second load")
		})
		rig.Eventually(t, 5*time.Second, "the second caller joins", func() bool { return c.Waiting("1") == 2 })
		leave()
		if err := await(t, "the batch", first); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if loading.Err() != nil {
			t.Fatal("the load ended with the batch")
		}
		close(release)
		if o := await(t, "the second caller", second); o.err != nil || o.value != after {
			t.Fatal(o.value, o.err)
		}

		alone, leave := context.WithCancel(t.Context())
		third := make(chan error, 1)
		go func() {
			_, err := c.GetOrLoadMany(alone, []string{"3", "4"}, func(ctx context.Context, _ []string) (map[string]user, error) {
				entered <- ctx
				<-ctx.Done()
				return nil, context.Cause(ctx)
			})
			third <- err
		}()
		loading = await(t, "the load", entered)
		leave()
		await(t, "the batch", third)
		await(t, "the end of the load without a caller", loading.Done())
	})
}
