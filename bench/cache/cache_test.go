// Package cache_test compares package cache with go-redis/cache v9 and with otter, on the same work
// in the same run. The server is a real one on this machine.
//
//	go test -run '^$' -bench . -count 5 ./cache
package cache_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	rival "github.com/go-redis/cache/v9"
	"github.com/maypok86/otter/v2"
	"github.com/redis/go-redis/v9"

	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

func TestMain(m *testing.M) {
	rig.RegisterRole("herd", herd) // the test binary starts itself as the other processes
	rig.Main(m)
}

// profile is a struct of strings, about 250 bytes as JSON.
type profile struct {
	ID, Name, Email, Street, City, Country, Phone, Bio string
}

func newProfile(id string) profile {
	return profile{
		ID: id, Name: "Ada Lovelace", Email: "ada@example.com", Street: "St James's Square 12",
		City: "London", Country: "United Kingdom",
		Phone: "+44 20 7946 0000", Bio: "Wrote the first program for a machine that was never built.",
	}
}

const keyCount = 1024

func keys() []string {
	all := make([]string, keyCount)
	for i := range all {
		all[i] = fmt.Sprintf("user:%d", i)
	}
	return all
}

func load(_ context.Context, key string) (profile, error) { return newProfile(key), nil }

func ours(b *testing.B, opts cache.Options) *cache.Cache[profile] {
	b.Helper()
	client := rigclient.Open(b, rig.Shared(b).URL(), rig.Prefix(b))
	c, err := cache.New[profile](client, "profiles", opts)
	if err != nil {
		b.Fatal(err)
	}
	return c
}

func theirs(b *testing.B, local bool) *rival.Cache {
	b.Helper()
	client := redis.NewClient(&redis.Options{Addr: rig.Shared(b).Addr(), PoolSize: 128})
	b.Cleanup(func() { client.Close() })
	opt := &rival.Options{Redis: client}
	if local {
		opt.LocalCache = rival.NewTinyLFU(10_000, time.Minute)
	}
	return rival.New(opt)
}

// each calls do for the keys, on n goroutines per processor.
func each(b *testing.B, perCore int, keys []string, do func(key string) error) {
	b.Helper()
	b.ReportAllocs()
	b.SetParallelism(perCore)
	var start atomic.Uint32
	m := begin(b)
	defer m.end(b)
	b.RunParallel(func(pb *testing.PB) {
		i := start.Add(977)
		for pb.Next() {
			i++
			if err := do(keys[i%uint32(len(keys))]); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkNearHit(b *testing.B) {
	all := keys()
	ctx := b.Context()
	b.Run("redstart", func(b *testing.B) {
		c := ours(b, cache.Options{Near: cache.NearOptions{MaxEntries: 10_000, TTL: time.Hour}, TTL: time.Hour})
		for range 2 {
			for _, key := range all {
				if _, err := c.GetOrLoad(ctx, key, load); err != nil {
					b.Fatal(err)
				}
			}
		}
		each(b, 1, all, func(key string) error {
			_, err := c.GetOrLoad(ctx, key, load)
			return err
		})
	})
	b.Run("otter", func(b *testing.B) {
		c := otter.Must(&otter.Options[string, *profile]{MaximumSize: 10_000})
		for _, key := range all {
			v := newProfile(key)
			c.Set(key, &v)
		}
		each(b, 1, all, func(key string) error {
			if v, ok := c.GetIfPresent(key); !ok || v == nil {
				return fmt.Errorf("%s is not there", key)
			}
			return nil
		})
	})
	b.Run("go-redis-cache", func(b *testing.B) {
		c := theirs(b, true)
		prefix := rig.Prefix(b)
		named := make([]string, len(all))
		for i, key := range all {
			named[i] = prefix + key
			if err := c.Set(&rival.Item{Ctx: ctx, Key: named[i], Value: newProfile(key), TTL: time.Hour}); err != nil {
				b.Fatal(err)
			}
		}
		each(b, 1, named, func(key string) error {
			var v profile
			return c.Get(ctx, key, &v)
		})
	})
}

// 128 goroutines.
const perCore = 64

func BenchmarkRedisHit(b *testing.B) {
	all := keys()
	ctx := b.Context()
	b.Run("redstart", func(b *testing.B) {
		c := ours(b, cache.Options{TTL: time.Hour})
		for _, key := range all {
			if err := c.Set(ctx, key, newProfile(key)); err != nil {
				b.Fatal(err)
			}
		}
		each(b, perCore, all, func(key string) error {
			_, err := c.GetOrLoad(ctx, key, load)
			return err
		})
	})
	b.Run("go-redis-cache", func(b *testing.B) {
		c := theirs(b, false)
		prefix := rig.Prefix(b)
		named := make([]string, len(all))
		for i, key := range all {
			named[i] = prefix + key
			if err := c.Set(&rival.Item{Ctx: ctx, Key: named[i], Value: newProfile(key), TTL: time.Hour}); err != nil {
				b.Fatal(err)
			}
		}
		each(b, perCore, named, func(key string) error {
			var v profile
			return c.Once(&rival.Item{Ctx: ctx, Key: key, Value: &v, TTL: time.Hour,
				Do: func(*rival.Item) (any, error) { return newProfile(key), nil }})
		})
	})
}

// Each call asks for a new key: read, load, store.
func BenchmarkColdMiss(b *testing.B) {
	ctx := b.Context()
	b.Run("redstart", func(b *testing.B) {
		c := ours(b, cache.Options{TTL: time.Hour})
		for i := range 16 { // after that, lease requests are optimistic
			if _, err := c.GetOrLoad(ctx, fmt.Sprint("warm:", i), load); err != nil {
				b.Fatal(err)
			}
		}
		cold(b, func(key string) error {
			_, err := c.GetOrLoad(ctx, key, load)
			return err
		})
	})
	b.Run("go-redis-cache", func(b *testing.B) {
		c := theirs(b, false)
		prefix := rig.Prefix(b)
		cold(b, func(key string) error {
			var v profile
			return c.Once(&rival.Item{Ctx: ctx, Key: prefix + key, Value: &v, TTL: time.Hour,
				Do: func(*rival.Item) (any, error) { return newProfile(key), nil }})
		})
	})
}

func cold(b *testing.B, do func(key string) error) {
	b.Helper()
	server := rig.Shared(b)
	b.ReportAllocs()
	b.SetParallelism(perCore)
	var next atomic.Int64
	was := server.CommandStats()
	m := begin(b)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := do(fmt.Sprint("cold:", next.Add(1))); err != nil {
				b.Error(err)
				return
			}
		}
	})
	m.end(b)
	now := server.CommandStats()
	sent := func(name string) int64 { return now[name] - was[name] }
	requests := sent("get") + sent("set") + sent("evalsha")
	requests -= 2 * sent("evalsha") // our script calls GET and SET, which the server counts too
	b.ReportMetric(float64(requests)/float64(b.N), "requests/op")
}

func BenchmarkBatchOfHits(b *testing.B) {
	const size = 1000
	all := keys()[:size]
	ctx := b.Context()
	values := make(map[string]profile, size)
	for _, key := range all {
		values[key] = newProfile(key)
	}
	b.Run("redstart", func(b *testing.B) {
		c := ours(b, cache.Options{TTL: time.Hour})
		if err := c.SetMany(ctx, values); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			got, err := c.GetOrLoadMany(ctx, all, func(context.Context, []string) (map[string]profile, error) {
				b.Error("the loader ran")
				return nil, nil
			})
			if err != nil || len(got) != size {
				b.Fatal(len(got), err)
			}
		}
	})
	b.Run("raw-mget", func(b *testing.B) {
		client := rigclient.Open(b, rig.Shared(b).URL(), "")
		r := rigclient.Redis(b, client)
		prefix := rig.Prefix(b)
		named := make([]string, size)
		for i, key := range all {
			named[i] = prefix + key
			data, err := json.Marshal(values[key])
			if err != nil {
				b.Fatal(err)
			}
			if err := r.Do(ctx, r.B().Set().Key(named[i]).Value(string(data)).ExSeconds(3600).Build()).Error(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportAllocs()
		b.ResetTimer()
		for b.Loop() {
			replies, err := r.Do(ctx, r.B().Mget().Key(named...).Build()).ToArray()
			if err != nil {
				b.Fatal(err)
			}
			got := make(map[string]profile, size)
			for i := range replies {
				text, err := replies[i].AsBytes()
				if err != nil {
					b.Fatal(err)
				}
				var v profile
				if err := json.Unmarshal(text, &v); err != nil {
					b.Fatal(err)
				}
				got[all[i]] = v
			}
			if len(got) != size {
				b.Fatal(len(got))
			}
		}
	})
}
