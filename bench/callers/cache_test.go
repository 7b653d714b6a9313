package callers_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	rival "github.com/go-redis/cache/v9"

	"github.com/redstart-go/redstart/bench/callers"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/codec"
	"github.com/redstart-go/redstart/internal/rig"
)

// randomBytes returns a value that both libraries store as it is: the rows compare caches, not
// encodings, and compression has no effect.
func randomBytes(size int) []byte {
	source := rand.NewChaCha8([32]byte{1})
	value := make([]byte, size)
	_, _ = source.Read(value) // it has no errors
	return value
}

// keysOf returns the keys of a case: values of at most 16 MB, and at least 16 keys.
func keysOf(prefix string, size int) []string {
	all := make([]string, min(1024, max(16, 16_000_000/size)))
	for i := range all {
		all[i] = prefix + "key:" + strconv.Itoa(i)
	}
	return all
}

func bytesCache(b *testing.B, p place) *cache.Cache[[]byte] {
	c, err := cache.New[[]byte](p.client(b), "bytes", cache.Options{TTL: time.Hour, Codec: codec.Raw})
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// checkSize returns err, or an error if the value has another size.
func checkSize(value []byte, size int, err error) error {
	if err == nil && len(value) != size {
		return fmt.Errorf("%d bytes, want %d", len(value), size)
	}
	return err
}

var errMiss = errors.New("a stored key was loaded")

func cacheHit(b *testing.B, p place, c callers.Case) operation {
	users, all, ctx := bytesCache(b, p), keysOf("", c.Bytes), b.Context()
	for _, key := range all {
		if err := users.Set(ctx, key, randomBytes(c.Bytes)); err != nil {
			b.Fatal(err)
		}
	}
	load := func(context.Context, string) ([]byte, error) { return nil, errMiss }
	return func(_ int, i int64, _ func() bool) error {
		v, err := users.GetOrLoad(ctx, all[i%int64(len(all))], load)
		return checkSize(v, c.Bytes, err)
	}
}

func rivalHit(b *testing.B, p place, c callers.Case) operation {
	users, all, ctx := rival.New(&rival.Options{Redis: p.goredis(b)}), keysOf(rig.Prefix(b), c.Bytes), b.Context()
	for _, key := range all {
		if err := users.Set(&rival.Item{Ctx: ctx, Key: key, Value: randomBytes(c.Bytes), TTL: time.Hour}); err != nil {
			b.Fatal(err)
		}
	}
	load := func(*rival.Item) (any, error) { return nil, errMiss }
	return func(_ int, i int64, _ func() bool) error {
		var v []byte
		err := users.Once(&rival.Item{Ctx: ctx, Key: all[i%int64(len(all))], Value: &v, TTL: time.Hour, Do: load})
		return checkSize(v, c.Bytes, err)
	}
}

// missTTL bounds the memory of a case with large values.
const missTTL = 2 * time.Second

func cacheMiss(b *testing.B, p place, c callers.Case) operation {
	users, value, ctx := bytesCache(b, p), randomBytes(c.Bytes), b.Context()
	load := func(context.Context, string) ([]byte, error) { return value, nil }
	var next atomic.Int64
	return func(int, int64, func() bool) error {
		v, err := users.GetOrLoad(ctx, strconv.FormatInt(next.Add(1), 10), load, cache.TTL(missTTL))
		return checkSize(v, c.Bytes, err)
	}
}

func rivalMiss(b *testing.B, p place, c callers.Case) operation {
	users, value, prefix := rival.New(&rival.Options{Redis: p.goredis(b)}), randomBytes(c.Bytes), rig.Prefix(b)
	load := func(*rival.Item) (any, error) { return value, nil }
	var next atomic.Int64
	return func(int, int64, func() bool) error {
		var v []byte
		err := users.Once(&rival.Item{Ctx: b.Context(), Key: prefix + strconv.FormatInt(next.Add(1), 10), Value: &v,
			TTL: missTTL, Do: load})
		return checkSize(v, c.Bytes, err)
	}
}

func cacheSet(b *testing.B, p place, c callers.Case) operation {
	users, value, all := bytesCache(b, p), randomBytes(c.Bytes), keysOf("", c.Bytes)
	return func(_ int, i int64, _ func() bool) error {
		return users.Set(b.Context(), all[i%int64(len(all))], value)
	}
}

func rivalSet(b *testing.B, p place, c callers.Case) operation {
	users, value := rival.New(&rival.Options{Redis: p.goredis(b)}), randomBytes(c.Bytes)
	all := keysOf(rig.Prefix(b), c.Bytes)
	return func(_ int, i int64, _ func() bool) error {
		return users.Set(&rival.Item{Ctx: b.Context(), Key: all[i%int64(len(all))], Value: value, TTL: time.Hour})
	}
}
