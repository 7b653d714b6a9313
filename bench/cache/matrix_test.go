package cache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	rival "github.com/go-redis/cache/v9"
	"github.com/maypok86/otter/v2"
	"github.com/redis/go-redis/v9"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/codec"
	"github.com/redstart-go/redstart/internal/rig"
)

// The matrix compares hits, misses with a load, batches and near-cache hits by the number of
// callers, the size of the values and the kind of server. Values are bytes, which all libraries
// store as they are: the rows compare caches, not encodings. The bytes are random, so that
// compression has no effect.

// place is a server or a cluster.
type place struct {
	name, url string
	servers   []*rig.Server
}

var places = []func(tb testing.TB) place{
	func(tb testing.TB) place {
		server := rig.Shared(tb)
		return place{"standalone", server.URL(), []*rig.Server{server}}
	},
	func(tb testing.TB) place {
		shared := rig.SharedCluster(tb)
		return place{"cluster", shared.URL(), shared.Primaries()}
	},
}

func (p place) goredis(tb testing.TB) redis.UniversalClient {
	var addrs []string
	for _, server := range p.servers {
		addrs = append(addrs, server.Addr())
	}
	client := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: addrs, PoolSize: 128})
	tb.Cleanup(func() { client.Close() })
	return client
}

func (p place) empty(b *testing.B) {
	b.Helper()
	for _, server := range p.servers {
		if _, err := server.Do("FLUSHALL"); err != nil {
			b.Fatal(err)
		}
	}
}

func (p place) ours(tb testing.TB, opts cache.Options) *cache.Cache[[]byte] {
	tb.Helper()
	client, err := redstart.Open(tb.Context(), redstart.Config{URL: p.url, Namespace: rig.Prefix(tb),
		CommandTimeout: 10 * time.Second})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { client.Close() })
	opts.TTL, opts.Codec = time.Hour, codec.Raw
	c, err := cache.New[[]byte](client, "bytes", opts)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// share calls op b.N times, on this number of goroutines.
func share(b *testing.B, callers int, op func(i int64) error) {
	b.Helper()
	run := func(n int64) {
		var next atomic.Int64
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				for i := next.Add(1); i <= n; i = next.Add(1) {
					if err := op(i); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	run(int64(2 * callers)) // opens connections, loads scripts
	b.ReportAllocs()
	b.ResetTimer()
	run(int64(b.N))
	b.StopTimer()
}

// keysOf returns the keys of a row: at most 16 MiB of values, and at least 16 keys.
func keysOf(prefix string, size int) []string {
	all := make([]string, min(1024, max(16, (16<<20)/size)))
	for i := range all {
		all[i] = prefix + "key:" + strconv.Itoa(i)
	}
	return all
}

func valueOf(size int) []byte {
	v := make([]byte, size)
	for i := range v {
		v[i] = byte(rand.Uint32())
	}
	return v
}

var errWrongSize = errors.New("a value of the wrong size")

func checkSize(v []byte, size int, err error) error {
	if err == nil && len(v) != size {
		return errWrongSize
	}
	return err
}

// cases runs a row of the matrix for each kind of server, size and number of callers.
func cases(b *testing.B, at []func(tb testing.TB) place, sizes []int, row func(b *testing.B, p place, size, callers int)) {
	for _, at := range at {
		p := at(b)
		for _, size := range sizes {
			for _, callers := range []int{1, 4, 16, 128} {
				b.Run(fmt.Sprintf("%s/bytes=%d/callers=%d", p.name, size, callers),
					func(b *testing.B) { row(b, p, size, callers) })
			}
		}
	}
}

var sizes = []int{10, 1 << 10, 100 << 10, 1 << 20}

func BenchmarkMatrixHit(b *testing.B) { cases(b, places, sizes, hitRow) }

// hitRow runs one row: each call reads a stored value.
func hitRow(b *testing.B, p place, size, callers int) {
	value := valueOf(size)
	b.Run("redstart", func(b *testing.B) {
		c, ctx, all := p.ours(b, cache.Options{}), b.Context(), keysOf("", size)
		for _, key := range all {
			if err := c.Set(ctx, key, value); err != nil {
				b.Fatal(err)
			}
		}
		load := func(context.Context, string) ([]byte, error) { return nil, errors.New("a miss") }
		share(b, callers, func(i int64) error {
			v, err := c.GetOrLoad(ctx, all[i%int64(len(all))], load)
			return checkSize(v, size, err)
		})
	})
	b.Run("go-redis-cache", func(b *testing.B) {
		client, ctx, all := p.goredis(b), b.Context(), keysOf(rig.Prefix(b), size)
		c := rival.New(&rival.Options{Redis: client})
		for _, key := range all {
			if err := c.Set(&rival.Item{Ctx: ctx, Key: key, Value: value, TTL: time.Hour}); err != nil {
				b.Fatal(err)
			}
		}
		load := func(*rival.Item) (any, error) { return nil, errors.New("a miss") }
		share(b, callers, func(i int64) error {
			var v []byte
			err := c.Once(&rival.Item{Ctx: ctx, Key: all[i%int64(len(all))], Value: &v, TTL: time.Hour, Do: load})
			return checkSize(v, size, err)
		})
	})
	b.Run("go-redis", func(b *testing.B) {
		client, ctx, all := p.goredis(b), b.Context(), keysOf(rig.Prefix(b), size)
		for _, key := range all {
			if err := client.Set(ctx, key, value, time.Hour).Err(); err != nil {
				b.Fatal(err)
			}
		}
		share(b, callers, func(i int64) error {
			v, err := client.Get(ctx, all[i%int64(len(all))]).Bytes()
			return checkSize(v, size, err)
		})
	})
}

func BenchmarkMatrixSet(b *testing.B) { cases(b, places, sizes, setRow) }

// setRow runs one row: each call stores a value.
func setRow(b *testing.B, p place, size, callers int) {
	value := valueOf(size)
	b.Run("redstart", func(b *testing.B) {
		c, ctx, all := p.ours(b, cache.Options{}), b.Context(), keysOf("", size)
		share(b, callers, func(i int64) error { return c.Set(ctx, all[i%int64(len(all))], value) })
	})
	b.Run("go-redis-cache", func(b *testing.B) {
		client, ctx, all := p.goredis(b), b.Context(), keysOf(rig.Prefix(b), size)
		c := rival.New(&rival.Options{Redis: client})
		share(b, callers, func(i int64) error {
			return c.Set(&rival.Item{Ctx: ctx, Key: all[i%int64(len(all))], Value: value, TTL: time.Hour})
		})
	})
}

func BenchmarkMatrixMiss(b *testing.B) { cases(b, places, sizes[:3], missRow) }

// missRow runs one row: each call reads a missing key, loads it and stores it. The servers are
// emptied before each row, so that none is full.
func missRow(b *testing.B, p place, size, callers int) {
	value := valueOf(size)
	b.Run("redstart", func(b *testing.B) {
		p.empty(b)
		c, ctx := p.ours(b, cache.Options{}), b.Context()
		load := func(context.Context, string) ([]byte, error) { return value, nil }
		var n atomic.Int64
		share(b, callers, func(int64) error {
			v, err := c.GetOrLoad(ctx, strconv.FormatInt(n.Add(1), 10), load, cache.TTL(10*time.Second))
			return checkSize(v, size, err)
		})
	})
	b.Run("go-redis-cache", func(b *testing.B) {
		p.empty(b)
		client, ctx, prefix := p.goredis(b), b.Context(), rig.Prefix(b)
		c := rival.New(&rival.Options{Redis: client})
		load := func(*rival.Item) (any, error) { return value, nil }
		var n atomic.Int64
		share(b, callers, func(int64) error {
			var v []byte
			err := c.Once(&rival.Item{Ctx: ctx, Key: prefix + strconv.FormatInt(n.Add(1), 10), Value: &v,
				TTL: 10 * time.Second, Do: load})
			return checkSize(v, size, err)
		})
	})
}

// BenchmarkMatrixMany reads 10 and 100 stored keys in one call. go-redis/cache has no such call.
// go-redis reads one server with MGET, and a cluster with a pipeline of GETs.
func BenchmarkMatrixMany(b *testing.B) {
	for _, n := range []int{10, 100} {
		b.Run("keys="+strconv.Itoa(n), func(b *testing.B) {
			cases(b, places, sizes[:2], func(b *testing.B, p place, size, callers int) {
				value := valueOf(size)
				b.Run("redstart", func(b *testing.B) {
					c, ctx, all := p.ours(b, cache.Options{}), b.Context(), keysOf("", size)[:n]
					for _, key := range all {
						if err := c.Set(ctx, key, value); err != nil {
							b.Fatal(err)
						}
					}
					load := func(context.Context, []string) (map[string][]byte, error) { return nil, errors.New("a miss") }
					share(b, callers, func(int64) error {
						got, err := c.GetOrLoadMany(ctx, all, load)
						return checkSize(got[all[n-1]], size, err)
					})
				})
				b.Run("go-redis", func(b *testing.B) {
					client, ctx, all := p.goredis(b), b.Context(), keysOf(rig.Prefix(b), size)[:n]
					for _, key := range all {
						if err := client.Set(ctx, key, value, time.Hour).Err(); err != nil {
							b.Fatal(err)
						}
					}
					many := mget
					if len(p.servers) > 1 {
						many = pipeline
					}
					share(b, callers, func(int64) error {
						got, err := many(ctx, client, all)
						return checkSize(got[all[n-1]], size, err)
					})
				})
			})
		})
	}
}

func mget(ctx context.Context, client redis.UniversalClient, keys []string) (map[string][]byte, error) {
	replies, err := client.MGet(ctx, keys...).Result()
	got := make(map[string][]byte, len(keys))
	for i, reply := range replies {
		if text, ok := reply.(string); ok {
			got[keys[i]] = []byte(text)
		}
	}
	return got, err
}

func pipeline(ctx context.Context, client redis.UniversalClient, keys []string) (map[string][]byte, error) {
	replies := make([]*redis.StringCmd, len(keys))
	_, err := client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i, key := range keys {
			replies[i] = pipe.Get(ctx, key)
		}
		return nil
	})
	got := make(map[string][]byte, len(keys))
	for i, reply := range replies {
		if v, err := reply.Bytes(); err == nil {
			got[keys[i]] = v
		}
	}
	return got, err
}

// BenchmarkMatrixNear reads near-cached values that callers promise not to modify, as otter's
// callers do.
func BenchmarkMatrixNear(b *testing.B) {
	cases(b, places[:1], sizes, func(b *testing.B, p place, size, callers int) {
		value := valueOf(size)
		b.Run("redstart", func(b *testing.B) {
			c, ctx, all := p.ours(b, cache.Options{Near: cache.NearOptions{MaxEntries: 10_000, TTL: time.Hour,
				Shared: true}}), b.Context(), keysOf("", size)
			load := func(context.Context, string) ([]byte, error) { return value, nil }
			for range 2 {
				for _, key := range all {
					if _, err := c.GetOrLoad(ctx, key, load); err != nil {
						b.Fatal(err)
					}
				}
			}
			share(b, callers, func(i int64) error {
				v, err := c.GetOrLoad(ctx, all[i%int64(len(all))], load)
				return checkSize(v, size, err)
			})
		})
		b.Run("otter", func(b *testing.B) {
			c, all := otter.Must(&otter.Options[string, []byte]{MaximumSize: 10_000}), keysOf("", size)
			for _, key := range all {
				c.Set(key, value)
			}
			share(b, callers, func(i int64) error {
				v, _ := c.GetIfPresent(all[i%int64(len(all))])
				return checkSize(v, size, nil)
			})
		})
		b.Run("go-redis-cache", func(b *testing.B) {
			client, ctx, all := p.goredis(b), b.Context(), keysOf(rig.Prefix(b), size)
			c := rival.New(&rival.Options{Redis: client, LocalCache: rival.NewTinyLFU(10_000, time.Hour)})
			for _, key := range all {
				if err := c.Set(&rival.Item{Ctx: ctx, Key: key, Value: value, TTL: time.Hour}); err != nil {
					b.Fatal(err)
				}
			}
			share(b, callers, func(i int64) error {
				var v []byte
				err := c.Get(ctx, all[i%int64(len(all))], &v)
				return checkSize(v, size, err)
			})
		})
	})
}
