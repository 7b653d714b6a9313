package ratelimit_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
	"github.com/throttled/throttled/v2"
	"github.com/throttled/throttled/v2/store/goredisstore.v9"
	"github.com/ulule/limiter/v3"
	ulule "github.com/ulule/limiter/v3/drivers/store/redis"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
	"github.com/redstart-go/redstart/ratelimit"
)

func TestMain(m *testing.M) { rig.Main(m) }

const (
	goroutines = 128
	keyCount   = 1024
)

// The limit is a million per second and key, so no call is refused except in BenchmarkRefused.
const many = 1_000_000

var userKeys = func() (keys [keyCount]string) {
	for i := range keys {
		keys[i] = "user:" + strconv.Itoa(100_000+i)
	}
	return keys
}()

// run calls fn from 128 goroutines over 1,024 keys, and reports the commands that a call sent.
func run(b *testing.B, server *rig.Server, fn func(ctx context.Context, key string) error) {
	b.Helper()
	runWith(b, server, goroutines, fn)
}

// runWith is run with another number of callers.
func runWith(b *testing.B, server *rig.Server, callers int, fn func(ctx context.Context, key string) error) {
	b.Helper()
	// with a Done channel, as the context of a request has
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var warm sync.WaitGroup
	for part := range 16 { // connect, load scripts, make keys busy
		warm.Go(func() {
			for i := part; i < 16*keyCount; i += 16 {
				if err := fn(ctx, userKeys[i/16]); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	warm.Wait()
	var failed atomic.Pointer[error]
	before := server.CommandStats()
	b.ReportAllocs()
	used, served := cpu(b), serverCPU(b, server)
	b.ResetTimer()
	var all sync.WaitGroup
	for caller := range callers {
		all.Go(func() {
			first := 7919 * (caller + 1)
			// a counter that all callers share would cost as much as the measured work
			share := (b.N + callers - 1 - caller) / callers
			for i := first; i < first+share; i++ {
				if err := fn(ctx, userKeys[i%keyCount]); err != nil {
					lost := err // err itself would be allocated in each call
					failed.Store(&lost)
					return
				}
			}
		})
	}
	all.Wait()
	b.StopTimer()
	// Wall time depends on other work of the machine; the processor time of this process does not.
	b.ReportMetric(float64(cpu(b)-used)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(serverCPU(b, server)-served)/float64(b.N), "server-ns/op")
	if err := failed.Load(); err != nil {
		b.Fatal(*err)
	}
	after := server.CommandStats()
	sent := func(name string) float64 { return float64(after[name] - before[name]) }
	trips := sent("evalsha") + sent("eval")
	if trips == 0 { // a GET of a client and not of a script
		trips = sent("get")
	}
	b.ReportMetric(trips/float64(b.N), "trips/op")
}

// cpu returns the processor time that this process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// serverCPU returns the processor time that the server has used.
func serverCPU(b *testing.B, server *rig.Server) (used time.Duration) {
	b.Helper()
	for _, field := range []string{"used_cpu_user", "used_cpu_sys"} {
		d, err := time.ParseDuration(server.Info(field) + "s")
		if err != nil {
			b.Fatal(err)
		}
		used += d
	}
	return used
}

// BenchmarkGCRA: one rule, from one caller to 128.
func BenchmarkGCRA(b *testing.B) {
	server := rig.Standalone(b)
	client := rigclient.Open(b, server.URL(), "")
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer rdb.Close()
	for _, callers := range []int{1, 4, 16, 128} {
		b.Run(fmt.Sprintf("callers=%d/redstart", callers), func(b *testing.B) {
			l, err := ratelimit.New(client, "one", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerSecond(many)}})
			if err != nil {
				b.Fatal(err)
			}
			runWith(b, server, callers, func(ctx context.Context, key string) error {
				r, err := l.Allow(ctx, key)
				if err == nil && (!r.Allowed || r.Degraded) {
					return fmt.Errorf("%+v", r)
				}
				return err
			})
		})
		b.Run(fmt.Sprintf("callers=%d/redis_rate", callers), func(b *testing.B) {
			runWith(b, server, callers, redisRate(rdb, redis_rate.PerSecond(many)))
		})
		b.Run(fmt.Sprintf("callers=%d/throttled", callers), func(b *testing.B) {
			runWith(b, server, callers, throttle(b, rdb))
		})
	}
}

// redisRate charges a token with redis_rate.
func redisRate(rdb *redis.Client, limit redis_rate.Limit) func(ctx context.Context, key string) error {
	l := redis_rate.NewLimiter(rdb)
	return func(ctx context.Context, key string) error {
		r, err := l.Allow(ctx, key, limit)
		if err == nil && r.Allowed == 0 {
			return fmt.Errorf("refused")
		}
		return err
	}
}

// throttle charges a token with throttled, and reports how often throttled gave up.
func throttle(b *testing.B, rdb *redis.Client) func(ctx context.Context, key string) error {
	b.Helper()
	store, err := goredisstore.NewCtx(rdb, "throttled:")
	if err != nil {
		b.Fatal(err)
	}
	l, err := throttled.NewGCRARateLimiterCtx(store, throttled.RateQuota{MaxRate: throttled.PerSec(many), MaxBurst: many})
	if err != nil {
		b.Fatal(err)
	}
	var gaveUp atomic.Int64
	b.Cleanup(func() { b.ReportMetric(float64(gaveUp.Load())/float64(b.N), "errors/op") })
	return func(ctx context.Context, key string) error {
		limited, _, err := l.RateLimitCtx(ctx, key, 1)
		if limited {
			return fmt.Errorf("refused")
		}
		if err != nil { // its compare-and-set gives up after ten attempts
			gaveUp.Add(1)
		}
		return nil
	}
}

func BenchmarkAllow(b *testing.B) {
	server := rig.Standalone(b)
	client := rigclient.Open(b, server.URL(), "")
	raw, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr()},
		DisableCache: true, PipelineMultiplex: -1, AlwaysPipelining: true})
	if err != nil {
		b.Fatal(err)
	}
	defer raw.Close()
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer rdb.Close()

	ours := func(name string, opts ratelimit.Options) func(context.Context, string) error {
		l, err := ratelimit.New(client, name, opts)
		if err != nil {
			b.Fatal(err)
		}
		return func(ctx context.Context, key string) error {
			r, err := l.Allow(ctx, key)
			if err == nil && (!r.Allowed || r.Degraded) {
				return fmt.Errorf("%+v", r)
			}
			return err
		}
	}

	b.Run("get=rueidis", func(b *testing.B) {
		run(b, server, func(ctx context.Context, key string) error {
			_, err := raw.Do(ctx, raw.B().Get().Key(key).Build()).ToString()
			if rueidis.IsRedisNil(err) {
				return nil
			}
			return err
		})
	})
	b.Run("gcra=redstart", func(b *testing.B) {
		run(b, server, ours("one", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerSecond(many)}}))
	})
	b.Run("gcra=redis_rate", func(b *testing.B) {
		run(b, server, redisRate(rdb, redis_rate.PerSecond(many)))
	})
	b.Run("gcra=throttled", func(b *testing.B) {
		run(b, server, throttle(b, rdb))
	})
	b.Run("three-rules=redstart", func(b *testing.B) {
		run(b, server, ours("three", ratelimit.Options{Rules: []ratelimit.Rule{
			ratelimit.PerSecond(many), ratelimit.PerMinute(60 * many), ratelimit.PerHour(100 * many),
		}}))
	})
	b.Run("leased=redstart", func(b *testing.B) {
		run(b, server, ours("leased", ratelimit.Options{
			Rules: []ratelimit.Rule{ratelimit.PerSecond(many)}, Lease: ratelimit.Lease{Batch: 100},
		}))
	})
	b.Run("log=redstart", func(b *testing.B) {
		run(b, server, ours("log", ratelimit.Options{Algorithm: ratelimit.SlidingLog,
			Rules: []ratelimit.Rule{ratelimit.PerSecond(many)}}))
	})
	b.Run("sliding=redstart", func(b *testing.B) {
		run(b, server, ours("sliding", ratelimit.Options{Algorithm: ratelimit.SlidingWindow,
			Rules: []ratelimit.Rule{ratelimit.PerSecond(many)}}))
	})
	b.Run("fixed=redstart", func(b *testing.B) {
		run(b, server, ours("fixed", ratelimit.Options{Algorithm: ratelimit.FixedWindow,
			Rules: []ratelimit.Rule{ratelimit.PerSecond(many)}}))
	})
	b.Run("fixed=ulule", func(b *testing.B) {
		store, err := ulule.NewStoreWithOptions(rdb, limiter.StoreOptions{Prefix: "ulule"})
		if err != nil {
			b.Fatal(err)
		}
		l := limiter.New(store, limiter.Rate{Period: time.Second, Limit: many})
		run(b, server, func(ctx context.Context, key string) error {
			r, err := l.Get(ctx, key)
			if err == nil && r.Reached {
				return fmt.Errorf("refused")
			}
			return err
		})
	})
}

// BenchmarkRefused: a key that was refused and has to wait.
func BenchmarkRefused(b *testing.B) {
	server := rig.Standalone(b)
	client := rigclient.Open(b, server.URL(), "")
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer rdb.Close()

	b.Run("known=redstart", func(b *testing.B) {
		l, err := ratelimit.New(client, "refused", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(1)}})
		if err != nil {
			b.Fatal(err)
		}
		run(b, server, func(ctx context.Context, key string) error {
			_, err := l.Allow(ctx, key)
			return err
		})
	})
	b.Run("known=redis_rate", func(b *testing.B) {
		l := redis_rate.NewLimiter(rdb)
		run(b, server, func(ctx context.Context, key string) error {
			_, err := l.Allow(ctx, key, redis_rate.PerHour(1))
			return err
		})
	})
}
