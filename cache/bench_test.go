package cache_test

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

// These benchmarks measure the package on a real server on this machine. The comparison with other
// libraries is in bench/cache.
//
//	go test -run '^$' -bench . -benchmem ./cache

const benchKeys = 1024

func benchCache(b *testing.B, opts cache.Options) (*cache.Cache[user], []string) {
	b.Helper()
	opts.TTL = time.Hour
	c := open(b, rig.Engine{URL: rig.Shared(b).URL(), Namespace: rig.Prefix(b)}, opts)
	keys := make([]string, benchKeys)
	values := make(map[string]user, benchKeys)
	for i := range keys {
		keys[i] = strconv.Itoa(i)
		values[keys[i]] = user{keys[i], "Ada Lovelace", i}
	}
	if err := c.SetMany(b.Context(), values); err != nil {
		b.Fatal(err)
	}
	return c, keys
}

// measured calls do for one key after another, with 1 and 128 callers.
func measured(b *testing.B, c *cache.Cache[user], do func(i uint64) error) {
	b.Helper()
	for _, perCore := range []int{0, 64} {
		name := "alone"
		if perCore > 0 {
			name = "64 callers per core"
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			before := c.Stats()
			if perCore == 0 {
				for i := uint64(0); b.Loop(); i++ {
					if err := do(i); err != nil {
						b.Fatal(err)
					}
				}
			} else {
				var next atomic.Uint64
				b.SetParallelism(perCore)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := do(next.Add(1)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			if s := c.Stats(); s.Errors != before.Errors {
				b.Errorf("%d errors of the server", s.Errors-before.Errors)
			}
		})
	}
}

func source(_ context.Context, key string) (user, error) { return user{key, "Ada Lovelace", 1}, nil }

func BenchmarkNearHit(b *testing.B) {
	ctx := b.Context()
	c, keys := benchCache(b, cache.Options{Near: cache.NearOptions{MaxEntries: 10 * benchKeys, TTL: time.Hour}})
	if _, err := c.GetMany(ctx, keys); err != nil {
		b.Fatal(err)
	}
	measured(b, c, func(i uint64) error {
		_, err := c.GetOrLoad(ctx, keys[i%benchKeys], source)
		return err
	})
}

func BenchmarkHit(b *testing.B) {
	ctx := b.Context()
	c, keys := benchCache(b, cache.Options{})
	measured(b, c, func(i uint64) error {
		_, err := c.GetOrLoad(ctx, keys[i%benchKeys], source)
		return err
	})
}

func BenchmarkTaggedHit(b *testing.B) {
	ctx := b.Context()
	c, keys := benchCache(b, cache.Options{})
	for _, key := range keys {
		if err := c.Set(ctx, key, before, cache.Tags("a", "b")); err != nil {
			b.Fatal(err)
		}
	}
	measured(b, c, func(i uint64) error {
		_, err := c.GetOrLoad(ctx, keys[i%benchKeys], source)
		return err
	})
}

// Each call asks for a new key: read, lease, load, fill.
func BenchmarkColdMiss(b *testing.B) {
	for _, entries := range []int{0, 10 * benchKeys} {
		b.Run(fmt.Sprintf("near=%d", entries), func(b *testing.B) {
			ctx := b.Context()
			c, _ := benchCache(b, cache.Options{Near: cache.NearOptions{MaxEntries: entries}})
			var cold atomic.Uint64
			measured(b, c, func(uint64) error {
				_, err := c.GetOrLoad(ctx, fmt.Sprint("cold ", cold.Add(1)), source)
				return err
			})
			if s := c.Stats(); s.Loads != s.Misses || s.LeaseLost != 0 {
				b.Errorf("%+v", s)
			}
		})
	}
}

func BenchmarkSet(b *testing.B) {
	ctx := b.Context()
	c, keys := benchCache(b, cache.Options{})
	measured(b, c, func(i uint64) error { return c.Set(ctx, keys[i%benchKeys], before) })
}

func BenchmarkDelete(b *testing.B) {
	ctx := b.Context()
	c, keys := benchCache(b, cache.Options{})
	measured(b, c, func(i uint64) error { return c.Delete(ctx, keys[i%benchKeys]) })
}

// A batch of 100 keys.
func BenchmarkBatch(b *testing.B) {
	ctx := b.Context()
	const size = 100
	many := func(_ context.Context, keys []string) (map[string]user, error) {
		values := make(map[string]user, len(keys))
		for _, key := range keys {
			values[key] = before
		}
		return values, nil
	}
	c, keys := benchCache(b, cache.Options{})
	b.Run("hits", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if got, err := c.GetOrLoadMany(ctx, keys[:size], many); err != nil || len(got) != size {
				b.Fatal(len(got), err)
			}
		}
	})
	b.Run("misses", func(b *testing.B) {
		b.ReportAllocs()
		cold, n := make([]string, size), 0
		for b.Loop() {
			for i := range cold {
				n++
				cold[i] = fmt.Sprint("cold ", n)
			}
			if got, err := c.GetOrLoadMany(ctx, cold, many); err != nil || len(got) != size {
				b.Fatal(len(got), err)
			}
		}
	})
	b.Run("set", func(b *testing.B) {
		b.ReportAllocs()
		values, err := many(ctx, keys[:size])
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if err := c.SetMany(ctx, values); err != nil {
				b.Fatal(err)
			}
		}
	})
}
