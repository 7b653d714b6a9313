package lock_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/bsm/redislock"
	"github.com/go-redsync/redsync/v4"
	redsyncredis "github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidislock"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
	"github.com/redstart-go/redstart/lock"
)

// place is a server or a cluster, as its clients know it.
type place struct {
	name    string
	url     string
	servers []*rig.Server
}

func standalone(tb testing.TB) place {
	server := rig.Shared(tb)
	return place{"standalone", server.URL(), []*rig.Server{server}}
}

func cluster(tb testing.TB) place {
	shared := rig.SharedCluster(tb)
	return place{"cluster", shared.URL(), shared.Primaries()}
}

var places = []func(tb testing.TB) place{standalone, cluster}

func (p place) addrs() (addrs []string) {
	for _, server := range p.servers {
		addrs = append(addrs, server.Addr())
	}
	return addrs
}

// goredis returns a client of go-redis, for a cluster if there are several addresses.
func (p place) goredis(tb testing.TB) redis.UniversalClient {
	client := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: p.addrs()})
	tb.Cleanup(func() { client.Close() })
	return client
}

// cpu returns the processor time that the servers have used, in seconds.
func (p place) cpu(b *testing.B) (total float64) {
	for _, server := range p.servers {
		for _, field := range []string{"used_cpu_user_main_thread", "used_cpu_sys_main_thread"} {
			seconds, err := strconv.ParseFloat(server.Info(field), 64)
			if err != nil {
				b.Fatal(err)
			}
			total += seconds
		}
	}
	return total
}

// scripts counts the scripts that clients have sent. Commands inside scripts do not count.
func (p place) scripts() (n int64) {
	for _, server := range p.servers {
		stats := server.CommandStats()
		n += stats["evalsha"] + stats["eval"]
	}
	return n
}

// rival is how one library acquires a lock, waits for it, and releases it.
type rival struct {
	name string
	open func(tb testing.TB, p place) taker // a separate client, as another process would have
}

type taker func(ctx context.Context, name string) (release func() error, err error)

var rivals = []rival{
	{"redstart", redstartLock},
	{"redislock", redislockLock},
	{"redsync", redsyncLock},
	{"rueidislock", rueidisLock},
}

func newLocker(tb testing.TB, p place, opts lock.Options) *lock.Locker {
	client := rigclient.Open(tb, p.url, "")
	opts.Wait = lock.WaitForever
	locker, err := lock.New(client, opts)
	if err != nil {
		tb.Fatal(err)
	}
	return locker
}

func redstartLock(tb testing.TB, p place) taker {
	locker := newLocker(tb, p, lock.Options{})
	return func(ctx context.Context, name string) (func() error, error) {
		return releaseOf(ctx)(locker.Acquire(ctx, name))
	}
}

// releaseOf converts the results of an Acquire to the results of a taker.
func releaseOf(ctx context.Context) func(held *lock.Lock, err error) (func() error, error) {
	return func(held *lock.Lock, err error) (func() error, error) {
		if err != nil {
			return nil, err
		}
		return func() error { return held.Release(ctx) }, nil
	}
}

func redislockLock(tb testing.TB, p place) taker {
	locker := redislock.New(p.goredis(tb))
	retry := &redislock.Options{RetryStrategy: redislock.LinearBackoff(10 * time.Millisecond)}
	return func(ctx context.Context, name string) (func() error, error) {
		held, err := locker.Obtain(ctx, name, 10*time.Second, retry)
		if err != nil {
			return nil, err
		}
		return func() error { return held.Release(ctx) }, nil
	}
}

func redsyncLock(tb testing.TB, p place) taker {
	sync := redsync.New(redsyncredis.NewPool(p.goredis(tb)))
	return func(ctx context.Context, name string) (func() error, error) {
		held := sync.NewMutex(name, redsync.WithExpiry(10*time.Second), redsync.WithTries(1_000_000),
			redsync.WithRetryDelay(10*time.Millisecond))
		if err := held.LockContext(ctx); err != nil {
			return nil, err
		}
		return func() error { _, err := held.UnlockContext(ctx); return err }, nil
	}
}

func rueidisLock(tb testing.TB, p place) taker {
	locker, err := rueidislock.NewLocker(rueidislock.LockerOption{
		ClientOption: rueidis.ClientOption{InitAddress: p.addrs()},
		KeyValidity:  10 * time.Second, KeyMajority: 1, NoLoopTracking: true,
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(locker.Close)
	return func(ctx context.Context, name string) (func() error, error) {
		// Sometimes it waits without an end for a name that is free: it is called again after two
		// seconds.
		for {
			attempt, end := context.WithTimeout(ctx, 2*time.Second)
			_, cancel, err := locker.WithContext(attempt, name)
			if err == nil {
				return func() error { cancel(); end(); return nil }, nil
			}
			if end(); ctx.Err() != nil {
				return nil, err
			}
			tb.Log("rueidislock was stuck for 2 s:", err)
		}
	}
}
