package lock_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

// scripts counts the scripts that the server ran since before. The scripts of one pipeline are one
// round trip.
func scripts(server *rig.Server, before map[string]int64) int64 {
	after := server.CommandStats()
	return after["evalsha"] + after["eval"] - before["evalsha"] - before["eval"]
}

// benchmark reports allocations and scripts per operation. The operation ran once before.
func benchmark(b *testing.B, server *rig.Server, op func()) {
	b.Helper()
	op()
	before := server.CommandStats()
	b.ReportAllocs()
	for b.Loop() {
		op()
	}
	b.ReportMetric(float64(scripts(server, before))/float64(b.N), "scripts/op")
}

// BenchmarkAcquire measures acquire and release of each kind of lock, with one caller.
func BenchmarkAcquire(b *testing.B) {
	server := rig.Standalone(b)
	l := newLocker(b, open(b, server.URL(), "app", patient), lock.Options{Group: "g"})
	resources := map[string]func() (*lock.Resource, error){
		"semaphore": func() (*lock.Resource, error) { return l.Semaphore("n", 3) },
		"reader":    func() (*lock.Resource, error) { return l.Reader("n") },
		"writer":    func() (*lock.Resource, error) { return l.Writer("n") },
		"all=2":     func() (*lock.Resource, error) { return l.All("a", "b") },
	}
	ctx := context.Background()
	release := func(held *lock.Lock, err error) {
		if err == nil {
			err = held.Release(ctx)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	b.Run("lock", func(b *testing.B) { benchmark(b, server, func() { release(l.Acquire(ctx, "n")) }) })
	b.Run("try", func(b *testing.B) { benchmark(b, server, func() { release(l.TryAcquire(ctx, "n")) }) })
	for _, name := range []string{"semaphore", "reader", "writer", "all=2"} {
		g, err := resources[name]()
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) { benchmark(b, server, func() { release(g.Acquire(ctx)) }) })
	}
}

// BenchmarkRefused measures TryAcquire of a lock that another holder has.
func BenchmarkRefused(b *testing.B) {
	server := rig.Standalone(b)
	l := newLocker(b, open(b, server.URL(), "app", patient), lock.Options{})
	held := mustTry(b, l, "n")
	benchmark(b, server, func() {
		if _, err := l.TryAcquire(context.Background(), "n"); err == nil {
			b.Fatal("taken twice")
		}
	})
	mustRelease(b, held)
}

// BenchmarkParallel measures many callers of one Locker, each with its own name.
func BenchmarkParallel(b *testing.B) {
	server := rig.Standalone(b)
	l := newLocker(b, open(b, server.URL(), "app", patient), lock.Options{})
	var names atomic.Int64
	before := server.CommandStats()
	b.ReportAllocs()
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		name := strconv.FormatInt(names.Add(1), 10)
		for pb.Next() {
			mustRelease(b, mustAcquire(b, l, name))
		}
	})
	b.ReportMetric(float64(scripts(server, before))/float64(b.N), "scripts/op")
}

// BenchmarkHandoff measures two processes that hand one lock to each other. One operation is one
// release and the next Acquire: up to three round trips. The next holder waits only for the
// message.
func BenchmarkHandoff(b *testing.B) {
	server := rig.Standalone(b)
	var lockers [2]*lock.Locker
	for i := range lockers {
		lockers[i] = newLocker(b, open(b, server.URL(), "app", patient), lock.Options{Wait: lock.WaitForever})
	}
	ctx, cancel := context.WithCancel(context.Background())
	got := make(chan *lock.Lock)
	work := func(l *lock.Locker, done chan<- struct{}) {
		defer close(done)
		for {
			held, err := l.Acquire(ctx, "n")
			if err != nil {
				return
			}
			select {
			case got <- held:
			case <-ctx.Done():
			}
			held.Release(ctx)
		}
	}
	var done [2]chan struct{}
	for i, l := range lockers {
		done[i] = make(chan struct{})
		go work(l, done[i])
	}
	defer func() {
		cancel()
		<-done[0]
		<-done[1]
	}()
	for range 10 { // opens connections and subscriptions
		<-got
	}
	benchmark(b, server, func() { <-got })
}
