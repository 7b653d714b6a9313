package lock_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bsm/redislock"
	"github.com/go-redsync/redsync/v4"
	redsyncredis "github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidislock"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

func TestMain(m *testing.M) { rig.Main(m) }

// rival is one library's way to take a lock, wait for it if need be, and give it back.
type rival struct {
	name string
	open func(tb testing.TB, server *rig.Server) taker // a client of its own, as another process would have
}

type taker func(ctx context.Context, name string) (release func() error, err error)

var rivals = []rival{
	{"redstart", func(tb testing.TB, server *rig.Server) taker {
		client, err := redstart.Open(context.Background(), redstart.Config{URL: server.URL(), CommandTimeout: 10 * time.Second})
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { client.Close() })
		locker, err := lock.New(client, lock.Options{Wait: lock.WaitForever})
		if err != nil {
			tb.Fatal(err)
		}
		return func(ctx context.Context, name string) (func() error, error) {
			held, err := locker.Acquire(ctx, name)
			if err != nil {
				return nil, err
			}
			return func() error { return held.Release(ctx) }, nil
		}
	}},
	{"redislock", func(tb testing.TB, server *rig.Server) taker {
		client := redis.NewClient(&redis.Options{Addr: server.Addr()})
		tb.Cleanup(func() { client.Close() })
		locker := redislock.New(client)
		return func(ctx context.Context, name string) (func() error, error) {
			held, err := locker.Obtain(ctx, name, 10*time.Second, &redislock.Options{RetryStrategy: redislock.LinearBackoff(10 * time.Millisecond)})
			if err != nil {
				return nil, err
			}
			return func() error { return held.Release(ctx) }, nil
		}
	}},
	{"redsync", func(tb testing.TB, server *rig.Server) taker {
		client := redis.NewClient(&redis.Options{Addr: server.Addr()})
		tb.Cleanup(func() { client.Close() })
		sync := redsync.New(redsyncredis.NewPool(client))
		return func(ctx context.Context, name string) (func() error, error) {
			held := sync.NewMutex(name, redsync.WithExpiry(10*time.Second), redsync.WithTries(1_000_000), redsync.WithRetryDelay(10*time.Millisecond))
			if err := held.LockContext(ctx); err != nil {
				return nil, err
			}
			return func() error { _, err := held.UnlockContext(ctx); return err }, nil
		}
	}},
	{"rueidislock", func(tb testing.TB, server *rig.Server) taker {
		locker, err := rueidislock.NewLocker(rueidislock.LockerOption{
			ClientOption: rueidis.ClientOption{InitAddress: []string{server.Addr()}},
			KeyValidity:  10 * time.Second, KeyMajority: 1, NoLoopTracking: true,
		})
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(locker.Close)
		return func(ctx context.Context, name string) (func() error, error) {
			// Now and then it waits for ever for a name that is free: it is asked again after two seconds.
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
	}},
}

// BenchmarkOwnNames: 128 goroutines of one process, each acquires and releases a name of its own, and waits for the server's
// answer to both.
func BenchmarkOwnNames(b *testing.B) {
	for _, r := range rivals {
		b.Run(r.name, func(b *testing.B) {
			server := rig.Standalone(b)
			take := r.open(b, server)
			var ids atomic.Int64
			before, own := server.CommandStats(), ownCPU(b)
			b.ReportAllocs()
			b.SetParallelism(128 / runtime.GOMAXPROCS(0))
			b.RunParallel(func(pb *testing.PB) {
				name := "own:" + strconv.FormatInt(ids.Add(1), 10)
				for pb.Next() {
					release, err := take(context.Background(), name)
					if err == nil {
						err = release()
					}
					if err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.StopTimer()
			b.ReportMetric(float64(requests(server, before))/float64(b.N), "requests/op")
			b.ReportMetric((ownCPU(b)-own)/float64(b.N)*1e6, "client-µs/op")
			b.ReportMetric(cpu(b, server)/float64(b.N)*1e6, "server-µs/op")
		})
	}
}

// cpu is the processor time that the server has used, in seconds.
func cpu(b *testing.B, server *rig.Server) (total float64) {
	for _, field := range []string{"used_cpu_user_main_thread", "used_cpu_sys_main_thread"} {
		seconds, err := strconv.ParseFloat(server.Info(field), 64)
		if err != nil {
			b.Fatal(err)
		}
		total += seconds
	}
	return total
}

// ownCPU is this process' own, in seconds: on a machine with other work it says more than the clock.
func ownCPU(b *testing.B) float64 {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano()).Seconds()
}

// requests counts what clients asked for since before; commands inside scripts do not count.
func requests(server *rig.Server, before map[string]int64) (n int64) {
	for name, calls := range server.CommandStats() {
		switch name {
		case "evalsha", "eval":
			n += calls - before[name]
		}
	}
	return n
}

// BenchmarkHandoff: eight clients want one name all the time. One operation is one change of
// holder: to take a lock again that one has just released is no handoff. The first changes don't count, with any library:
// connections are made and subscriptions begin, once in a process' life.
func BenchmarkHandoff(b *testing.B) {
	const clients, warm = 8, 40
	for _, r := range rivals {
		b.Run(r.name, func(b *testing.B) {
			server := rig.Standalone(b)
			takers := make([]taker, clients)
			for i := range takers {
				takers[i] = r.open(b, server)
			}
			var mu sync.Mutex
			last, changes, grants, counting := -1, 0, 0, false
			shares := make([]int, clients)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			b.ReportAllocs()
			var wg sync.WaitGroup
			for i, take := range takers {
				wg.Go(func() {
					for ctx.Err() == nil {
						release, err := take(ctx, "contended")
						if err != nil {
							if ctx.Err() == nil && !errors.Is(err, redislock.ErrNotObtained) {
								b.Error(err)
								return
							}
							continue
						}
						mu.Lock()
						grants++
						if last != i {
							last = i
							changes++
							shares[i]++
						}
						switch {
						case !counting && changes >= warm:
							counting, changes, grants = true, 0, 0
							clear(shares)
							b.ResetTimer()
						case counting && changes >= b.N:
							cancel()
						}
						mu.Unlock()
						if err := release(); err != nil && ctx.Err() == nil {
							b.Error(err)
						}
					}
				})
			}
			<-ctx.Done()
			b.StopTimer()
			wg.Wait()
			mean := float64(changes) / clients
			b.ReportMetric(float64(slices.Min(shares))/mean, "least/mean")
			b.ReportMetric(float64(slices.Max(shares))/mean, "most/mean")
			b.ReportMetric(100*float64(changes)/float64(grants), "%changes")
		})
	}
}

// BenchmarkLoneWaiter: one waits in another client; from the call of release to the return of its acquire.
func BenchmarkLoneWaiter(b *testing.B) {
	for _, r := range rivals {
		b.Run(r.name, func(b *testing.B) {
			server := rig.Standalone(b)
			holder, waiter := r.open(b, server), r.open(b, server)
			ctx := context.Background()
			type grant struct {
				at      time.Time
				release func() error
			}
			var took []time.Duration
			for b.Loop() {
				release, err := holder(ctx, "lone")
				if err != nil {
					b.Fatal(err)
				}
				granted := make(chan grant, 1)
				go func() {
					release, err := waiter(ctx, "lone")
					if err != nil {
						b.Error(err)
					}
					granted <- grant{time.Now(), release}
				}()
				time.Sleep(3*time.Millisecond + time.Duration(len(took)%17)*time.Millisecond) // so that it waits, at any phase of a poller
				began := time.Now()
				if err := release(); err != nil {
					b.Fatal(err)
				}
				g := <-granted
				took = append(took, g.at.Sub(began))
				if err := g.release(); err != nil {
					b.Fatal(err)
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
			b.ReportMetric(float64(roundTrip(b, server).Microseconds()), "rtt-µs")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// roundTrip is the median of a PING.
func roundTrip(b *testing.B, server *rig.Server) time.Duration {
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	took := make([]time.Duration, 200)
	for i := range took {
		began := time.Now()
		if err := client.Ping(context.Background()).Err(); err != nil {
			b.Fatal(err)
		}
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// BenchmarkHeld: what 10,000 held locks cost: goroutines, and how long an ordinary command takes meanwhile. With a TTL of
// 3 s there are 10,000 renewals per second.
func BenchmarkHeld(b *testing.B) {
	for _, n := range []int{0, 100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			server := rig.Standalone(b)
			client, err := redstart.Open(context.Background(), redstart.Config{URL: server.URL(), CommandTimeout: 10 * time.Second})
			if err != nil {
				b.Fatal(err)
			}
			defer client.Close()
			locker, err := lock.New(client, lock.Options{TTL: 3 * time.Second})
			if err != nil {
				b.Fatal(err)
			}
			var wg sync.WaitGroup
			for w := range 50 {
				wg.Go(func() {
					for i := w; i < n; i += 50 {
						if _, err := locker.TryAcquire(context.Background(), "held:"+strconv.Itoa(i)); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			time.Sleep(1200 * time.Millisecond) // renewals have begun, workers of the acquires are idle
			before := locker.Stats().Renewals
			began := time.Now()
			var took []time.Duration
			for b.Loop() {
				start := time.Now()
				if err := client.Ping(context.Background()); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
				time.Sleep(time.Millisecond)
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "ping-p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "ping-p99-µs")
			b.ReportMetric(float64(locker.Stats().Renewals-before)/time.Since(began).Seconds(), "renewals/s")
			b.ReportMetric(float64(runtime.NumGoroutine()), "goroutines")
			b.ReportMetric(float64(locker.Stats().Lost), "lost")
			b.ReportMetric(0, "ns/op")
		})
	}
}
