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
	"github.com/redis/go-redis/v9"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
	"github.com/redstart-go/redstart/lock"
)

func TestMain(m *testing.M) { rig.Main(m) }

// share runs callers that acquire and release, each its own name, b.N times in all, and waits for
// the server's answers. It reports allocations, scripts and processor time.
func share(b *testing.B, p place, callers int, take taker) {
	prefix := rig.Prefix(b)
	work := func(n int64, name string, ops *atomic.Int64) {
		for ops.Add(1) <= n {
			release, err := take(context.Background(), name)
			if err == nil {
				err = release()
			}
			if err != nil {
				b.Error(err)
				return
			}
		}
	}
	run := func(n int64) {
		var ops atomic.Int64
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() { work(n, prefix+strconv.Itoa(i), &ops) })
		}
		wg.Wait()
	}
	run(int64(2 * callers)) // open connections, load scripts

	scripts, server, own := p.scripts(), p.cpu(b), ownCPU(b)
	b.ReportAllocs()
	b.ResetTimer()
	run(int64(b.N))
	b.StopTimer()
	b.ReportMetric(float64(p.scripts()-scripts)/float64(b.N), "requests/op")
	b.ReportMetric((ownCPU(b)-own)/float64(b.N)*1e6, "client-µs/op")
	b.ReportMetric((p.cpu(b)-server)/float64(b.N)*1e6, "server-µs/op")
}

// BenchmarkOwnNames: callers of one process each acquire and release their own name.
func BenchmarkOwnNames(b *testing.B) {
	for _, at := range places {
		p := at(b)
		for _, callers := range []int{1, 4, 16, 128} {
			for _, r := range rivals {
				b.Run(fmt.Sprintf("%s/callers=%d/%s", p.name, callers, r.name), func(b *testing.B) {
					share(b, p, callers, r.open(b, p))
				})
			}
		}
	}
}

// BenchmarkResources: permits, sides of a read-write lock and two names at once. The rival is
// redislock, which has none of them: it uses one lock for one, and two locks one after the other
// for two.
func BenchmarkResources(b *testing.B) {
	resource := func(open func(l *lock.Locker, name string) (*lock.Resource, error)) func(testing.TB, place) taker {
		return func(tb testing.TB, p place) taker {
			locker := newLocker(tb, p, lock.Options{Group: "r"})
			var resources sync.Map
			return func(ctx context.Context, name string) (func() error, error) {
				r, ok := resources.Load(name)
				if !ok {
					made, err := open(locker, name)
					if err != nil {
						return nil, err
					}
					r, _ = resources.LoadOrStore(name, made)
				}
				return releaseOf(ctx)(r.(*lock.Resource).Acquire(ctx))
			}
		}
	}
	kinds := []rival{
		{"semaphore", resource(func(l *lock.Locker, name string) (*lock.Resource, error) { return l.Semaphore(name, 3) })},
		{"reader", resource(func(l *lock.Locker, name string) (*lock.Resource, error) { return l.Reader(name) })},
		{"writer", resource(func(l *lock.Locker, name string) (*lock.Resource, error) { return l.Writer(name) })},
		{"redislock", redislockLock},
		{"all=2", resource(func(l *lock.Locker, name string) (*lock.Resource, error) { return l.All(name, name+"b") })},
		{"redislock=2", redislockTwice},
	}
	p := standalone(b)
	for _, callers := range []int{1, 4, 16, 128} {
		for _, r := range kinds {
			b.Run(fmt.Sprintf("callers=%d/%s", callers, r.name), func(b *testing.B) { share(b, p, callers, r.open(b, p)) })
		}
	}
}

func redislockTwice(tb testing.TB, p place) taker {
	take := redislockLock(tb, p)
	return func(ctx context.Context, name string) (func() error, error) {
		first, err := take(ctx, name)
		if err != nil {
			return nil, err
		}
		second, err := take(ctx, name+"b")
		if err != nil {
			return nil, errors.Join(err, first())
		}
		return func() error { return errors.Join(second(), first()) }, nil
	}
}

// ownCPU returns the processor time of this process, in seconds. On a machine with other work, it
// is a better measure than the clock.
func ownCPU(b *testing.B) float64 {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano()).Seconds()
}

// BenchmarkHandoff: callers in up to eight clients want one name all the time. One operation is one
// change of holder. If a caller acquires a lock again that it just released, this is not a
// hand-off. The first changes do not count, with any library, because they open connections and
// subscriptions. BenchmarkLoneWaiter has one waiter.
func BenchmarkHandoff(b *testing.B) {
	for _, at := range places {
		p := at(b)
		for _, callers := range []int{4, 8, 16, 128} {
			for _, r := range rivals {
				b.Run(fmt.Sprintf("%s/callers=%d/%s", p.name, callers, r.name), func(b *testing.B) { handOn(b, p, callers, r) })
			}
		}
	}
}

// turns counts changes of holder.
type turns struct {
	mu              sync.Mutex
	last            int
	changes, grants int
	shares          []int
	counting        bool
}

// granted records a grant, and reports whether b.N changes are counted.
func (t *turns) granted(b *testing.B, caller, warm int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.grants++
	if t.last != caller {
		t.last = caller
		t.changes++
		t.shares[caller]++
	}
	if !t.counting && t.changes >= warm {
		t.counting, t.changes, t.grants = true, 0, 0
		clear(t.shares)
		b.ResetTimer()
	}
	return t.counting && t.changes >= b.N
}

func handOn(b *testing.B, p place, callers int, r rival) {
	takers := make([]taker, min(callers, 8))
	for i := range takers {
		takers[i] = r.open(b, p)
	}
	name := rig.Prefix(b)
	t := &turns{last: -1, shares: make([]int, callers)}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b.ReportAllocs()
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for ctx.Err() == nil {
				release, err := takers[i%len(takers)](ctx, name)
				if err != nil {
					if ctx.Err() == nil && !errors.Is(err, redislock.ErrNotObtained) {
						b.Error(err)
						return
					}
					continue
				}
				if t.granted(b, i, 5*callers) {
					cancel()
				}
				if err := release(); err != nil && ctx.Err() == nil {
					b.Error(err)
				}
			}
		})
	}
	<-ctx.Done()
	b.StopTimer()
	wg.Wait()
	mean := float64(t.changes) / float64(callers)
	b.ReportMetric(float64(slices.Min(t.shares))/mean, "least/mean")
	b.ReportMetric(float64(slices.Max(t.shares))/mean, "most/mean")
	b.ReportMetric(100*float64(t.changes)/float64(t.grants), "%changes")
}

// roundTrip returns the median of a PING.
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

// BenchmarkHeld: the cost of 10,000 held locks: goroutines, and the time of an ordinary command.
// With a TTL of 3 s there are 10,000 renewals per second.
func BenchmarkHeld(b *testing.B) {
	for _, n := range []int{0, 100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			server := rig.Standalone(b)
			client := rigclient.Open(b, server.URL(), "")
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
			// renewals have started, and workers of the acquires are idle
			time.Sleep(1200 * time.Millisecond)
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
