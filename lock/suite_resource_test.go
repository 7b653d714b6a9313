package lock_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

func testSemaphore(t *testing.T, a, b *lock.Locker) {
	ga, err := a.Semaphore("sem", 3)
	ga = resourceOf(t, ga, err)
	gb, err := b.Semaphore("sem", 3)
	gb = resourceOf(t, gb, err)
	var all []*lock.Lock
	var last int64
	for i, g := range []*lock.Resource{ga, gb, ga} {
		held, err := g.TryAcquire(t.Context())
		if err != nil {
			t.Fatalf("permit %d: %v", i, err)
		}
		if held.Token() <= last {
			t.Fatalf("token %d after %d", held.Token(), last)
		}
		last = held.Token()
		all = append(all, held)
	}
	if _, err := gb.TryAcquire(t.Context()); !errors.Is(err, lock.ErrNotAcquired) {
		t.Fatalf("a fourth of three permits: %v", err)
	}
	mustRelease(t, all[1])
	again, err := ga.TryAcquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, held := range []*lock.Lock{all[0], all[2], again} {
		mustRelease(t, held)
	}
}

// testSemaphoreQueue: never more than n hold at once, and every waiter is served.
func testSemaphoreQueue(t *testing.T, a, b *lock.Locker) {
	const permits, workers, rounds = 2, 6, 5
	var inside, most atomic.Int64
	done := make(chan error, workers)
	for i := range workers {
		g, err := []*lock.Locker{a, b}[i%2].Semaphore("semq", permits)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for range rounds {
				err := g.Do(context.Background(), func(context.Context, *lock.Lock) error {
					n := inside.Add(1)
					defer inside.Add(-1)
					for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
					}
					return nil
				})
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range workers {
		if err := soon(t, "a worker is done", done); err != nil {
			t.Fatal(err)
		}
	}
	if most.Load() > permits {
		t.Fatalf("%d held %d permits", most.Load(), permits)
	}
}

func testReadWrite(t *testing.T, a, b *lock.Locker) {
	read, err := a.Reader("rw")
	read = resourceOf(t, read, err)
	write, err := b.Writer("rw")
	write = resourceOf(t, write, err)
	r1, err := read.TryAcquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r2, err := read.TryAcquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := write.TryAcquire(t.Context()); !errors.Is(err, lock.ErrNotAcquired) {
		t.Fatalf("a writer next to readers: %v", err)
	}
	mustRelease(t, r1)
	mustRelease(t, r2)
	w, err := write.TryAcquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := read.TryAcquire(t.Context()); !errors.Is(err, lock.ErrNotAcquired) {
		t.Fatalf("a reader next to a writer: %v", err)
	}
	if _, err := write.TryAcquire(t.Context()); !errors.Is(err, lock.ErrNotAcquired) {
		t.Fatalf("a second writer: %v", err)
	}
	if w.Token() <= r2.Token() {
		t.Fatalf("token %d after %d", w.Token(), r2.Token())
	}
	mustRelease(t, w)
}

// testWriterFirst: a waiting writer comes before readers, also before readers that came earlier.
// Then all readers are served together.
func testWriterFirst(t *testing.T, a, b *lock.Locker) {
	read, err := a.Reader("wf")
	read = resourceOf(t, read, err)
	write, err := b.Writer("wf")
	write = resourceOf(t, write, err)
	first, err := write.TryAcquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	type got struct {
		who string
		lk  *lock.Lock
	}
	order := make(chan got, 3)
	enter := func(who string, g *lock.Resource) {
		before := a.Stats().Waiting + b.Stats().Waiting
		go func() {
			lk, err := g.Acquire(context.Background())
			if err != nil {
				t.Error(err)
			}
			order <- got{who, lk}
		}()
		rig.Eventually(t, 5*time.Second, who+" waits", func() bool { return a.Stats().Waiting+b.Stats().Waiting == before+1 })
	}
	enter("reader", read)
	enter("reader", read)
	enter("writer", write)
	mustRelease(t, first)
	w := soon(t, "the first is served", order)
	if w.who != "writer" {
		t.Fatal("a reader went before a waiting writer")
	}
	if _, err := read.TryAcquire(t.Context()); !errors.Is(err, lock.ErrNotAcquired) {
		t.Fatalf("a reader next to a writer: %v", err)
	}
	mustRelease(t, w.lk)
	r1, r2 := soon(t, "a reader is served", order), soon(t, "the other reader is served next to it", order)
	mustRelease(t, r1.lk)
	mustRelease(t, r2.lk)
}

func testAll(t *testing.T, a, b, plain *lock.Locker) {
	ga, err := a.All("x", "y", "z:q")
	ga = resourceOf(t, ga, err)
	gb, err := b.All("z:q", "w")
	gb = resourceOf(t, gb, err)
	if _, err := plain.All("x"); err == nil {
		t.Fatal("All without a group")
	}
	if _, err := a.All("x", "x"); err == nil {
		t.Fatal("All with a name twice")
	}
	held, err := ga.TryAcquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"x", "y", "z:q"} {
		if _, err := b.TryAcquire(t.Context(), name); !errors.Is(err, lock.ErrNotAcquired) {
			t.Fatalf("%s is not held: %v", name, err)
		}
	}
	mustRelease(t, mustTry(t, plain, "x")) // a lock without a group is another lock
	if _, err := gb.TryAcquire(t.Context()); !errors.Is(err, lock.ErrNotAcquired) {
		t.Fatalf("All with one name held: %v", err)
	}
	mustRelease(t, mustTry(t, a, "w")) // nothing of it stayed
	got := make(chan *lock.Lock, 1)
	go func() {
		lk, err := gb.Acquire(context.Background())
		if err != nil {
			t.Error(err)
		}
		got <- lk
	}()
	rig.Eventually(t, 5*time.Second, "b waits", func() bool { return b.Stats().Waiting == 1 })
	mustRelease(t, held)
	next := soon(t, "b has all", got)
	if next.Token() <= held.Token() {
		t.Fatalf("token %d after %d", next.Token(), held.Token())
	}
	if _, err := a.TryAcquire(t.Context(), "w"); !errors.Is(err, lock.ErrNotAcquired) {
		t.Fatalf("w is not held: %v", err)
	}
	mustRelease(t, next)

	// Opposite orders of names do not deadlock.
	done := make(chan error, 2)
	for i, l := range []*lock.Locker{a, b} {
		names := [][]string{{"p", "q", "r"}, {"r", "q", "p"}}[i]
		g, err := l.All(names...)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for range 20 {
				if err := g.Do(context.Background(), func(context.Context, *lock.Lock) error { return nil }); err != nil {
					done <- fmt.Errorf("%v: %w", names, err)
					return
				}
			}
			done <- nil
		}()
	}
	for range 2 {
		if err := soon(t, "opposite orders end", done); err != nil {
			t.Fatal(err)
		}
	}
}
