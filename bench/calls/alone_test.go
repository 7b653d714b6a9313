package calls_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/bsm/redislock"
	rival "github.com/go-redis/cache/v9"
	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"

	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/ratelimit"
)

type profile struct{ ID, Name, Email, Street, City, Country, Phone, Bio string }

// BenchmarkAlone measures one caller at a time: a cache hit on the server, a lock that is acquired
// and released, and a request that a rate limiter admits.
func BenchmarkAlone(b *testing.B) {
	server := rig.Shared(b)
	client := rigclient.Open(b, server.URL(), rig.Prefix(b))
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	b.Cleanup(func() { _ = rdb.Close() })
	value := profile{"1", "Ada Lovelace", "ada@example.com", "St James's Square 12", "London",
		"United Kingdom", "+44 20 7946 0000", "Wrote a program."}
	load := func(context.Context, string) (profile, error) { return value, nil }
	run := func(name string, do func(ctx context.Context, i int) error) {
		b.Run(name, func(b *testing.B) { share(b, 1, do) })
	}

	profiles, err := cache.New[profile](client, "profiles", cache.Options{TTL: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	run("hit/redstart", func(ctx context.Context, i int) error {
		_, err := profiles.GetOrLoad(ctx, strconv.Itoa(i%keyCount), load)
		return err
	})
	theirs := rival.New(&rival.Options{Redis: rdb})
	prefix := rig.Prefix(b)
	run("hit/go-redis", func(ctx context.Context, i int) error { // go-redis/cache
		var v profile
		return theirs.Once(&rival.Item{Ctx: ctx, Key: prefix + strconv.Itoa(i%keyCount), Value: &v,
			TTL: time.Hour, Do: func(*rival.Item) (any, error) { return value, nil }})
	})

	locker, err := lock.New(client, lock.Options{})
	if err != nil {
		b.Fatal(err)
	}
	run("lock/redstart", func(ctx context.Context, i int) error {
		held, err := locker.Acquire(ctx, strconv.Itoa(i%keyCount))
		if err != nil {
			return err
		}
		return held.Release(ctx)
	})
	redislocks := redislock.New(rdb)
	run("lock/go-redis", func(ctx context.Context, i int) error { // redislock
		held, err := redislocks.Obtain(ctx, prefix+"lock"+strconv.Itoa(i%keyCount), 10*time.Second, nil)
		if err != nil {
			return err
		}
		return held.Release(ctx)
	})

	limiter, err := ratelimit.New(client, "api", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerSecond(1_000_000)}})
	if err != nil {
		b.Fatal(err)
	}
	run("gcra/redstart", func(ctx context.Context, i int) error {
		_, err := limiter.Allow(ctx, strconv.Itoa(i%keyCount))
		return err
	})
	rates := redis_rate.NewLimiter(rdb)
	run("gcra/go-redis", func(ctx context.Context, i int) error { // redis_rate
		_, err := rates.Allow(ctx, prefix+strconv.Itoa(i%keyCount), redis_rate.PerSecond(1_000_000))
		return err
	})
}
