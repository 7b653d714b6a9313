package cache_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

// For any number of keys and tags, this process keeps no state of them after their calls: found,
// loaded, not found, failed, waited for, invalidated.
func TestCallsLeaveNoState(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		ours, theirs := open(t, e, cache.Options{Near: cache.NearOptions{MaxEntries: 10}}), open(t, e, cache.Options{})
		warm(t, ours)
		results := map[string]func(key string) (user, error){
			"found":     func(string) (user, error) { return before, nil },
			"not found": func(string) (user, error) { return user{}, cache.ErrNotFound },
			"failed":    func(string) (user, error) { return user{}, errAway },
		}
		for result, source := range results {
			for i := range 10 {
				key := fmt.Sprint(result, i)
				tags := cache.Tags(key, "b"+key)
				_, err := ours.GetOrLoad(ctx, key, func(ctx context.Context, key string) (user, error) {
					cache.Adjust(ctx, cache.Tags("late"+key))
					return source(key)
				}, tags)
				if want := errors.Is(err, cache.ErrNotFound) || errors.Is(err, errAway); err != nil && !want {
					t.Fatal(err)
				}
				_, err = ours.GetOrLoadMany(ctx, []string{"m" + key, "n" + key},
					func(ctx context.Context, keys []string) (map[string]user, error) {
						v, err := source(keys[0])
						return map[string]user{keys[0]: v}, err
					}, tags)
				if err != nil && !errors.Is(err, errAway) && !errors.Is(err, cache.ErrNotFound) {
					t.Fatal(err)
				}
				ours.Get(ctx, key)
				ours.GetMany(ctx, []string{key, "o" + key})
				if err := errors.Join(ours.Set(ctx, "s"+key, before, tags), ours.Delete(ctx, "d"+key),
					ours.InvalidateTags(ctx, "t"+key)); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, many := range []bool{false, true} { // one caller waits, and one leaves
			key, g, waits := fmt.Sprint("waits", many), newGate(), ours.Stats().Waits
			loading := begin(ctx, theirs, key, g.load)
			await(t, "the load", g.entered)
			leaving, leave := context.WithCancel(ctx)
			ended := make(chan error, 1)
			go func() {
				if many {
					_, err := ours.GetOrLoadMany(leaving, []string{key, key + "too"},
						func(context.Context, []string) (map[string]user, error) { return nil, nil })
					ended <- err
					return
				}
				_, err := ours.GetOrLoad(leaving, key, constantLocked(before))
				ended <- err
			}()
			rig.Eventually(t, 10*time.Second, "it waits", func() bool { return ours.Stats().Waits > waits })
			leave()
			if err := await(t, "the caller that left", ended); !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			g.release <- answer{value: after}
			await(t, "the caller that loaded", loading)
		}
		deadline := time.Now().Add(10 * time.Second)
		rig.Eventually(t, 20*time.Second, "no state is left", func() bool {
			for what, n := range ours.Leftovers() {
				if n != 0 {
					if time.Now().After(deadline) {
						t.Fatalf("%d %s are left behind after 10s", n, what)
					}
					return false
				}
			}
			return true
		})
	})
}

// In an outage, a load reserves the near-cached entries of its keys. A panic or a Goexit of the
// loader, and a panic of the codec, end the reservations.
func TestAPanicInAnOutageLeavesNoReservation(t *testing.T) {
	t.Parallel()
	for name, source := range map[string]func() withPointer{
		"load panics":   func() withPointer { panic("boom") },
		"load exits":    func() withPointer { runtime.Goexit(); panic("unreachable") },
		"encode panics": func() withPointer { return withPointer{&odd{How: "encode panics"}} },
		"decode panics": func() withPointer { return withPointer{&odd{How: "decode panics"}} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, ctx := rig.Standalone(t), t.Context()
			client := dialWith(t, redstart.Config{URL: server.URL(), Namespace: rig.Prefix(t), CommandTimeout: downTimeout})
			c, err := cache.New[withPointer](client, "odd", nearby)
			if err != nil {
				t.Fatal(err)
			}
			server.Kill()
			var reserved atomic.Int64
			rig.Arm(t, c.Points(), "reserve", func(string) error { reserved.Add(1); return nil })

			var wg sync.WaitGroup
			wg.Go(func() {
				defer func() { _ = recover() }()
				c.GetOrLoad(ctx, "1", func(context.Context, string) (withPointer, error) { return source(), nil })
			})
			wg.Go(func() {
				defer func() { _ = recover() }()
				c.GetOrLoadMany(ctx, []string{"2", "3"}, func(_ context.Context, keys []string) (map[string]withPointer, error) {
					return map[string]withPointer{keys[0]: source(), keys[1]: source()}, nil
				})
			})
			wg.Wait()
			if reserved.Load() < 3 {
				t.Errorf("%d reservations, want one of each key at least: this shows nothing", reserved.Load())
			}
			rig.EventuallyOr(t, 10*time.Second, "no reservation is left",
				func() bool { return c.Leftovers()["near reservations"] == 0 },
				func() string { return fmt.Sprint(c.Leftovers()) })
		})
	}
}
