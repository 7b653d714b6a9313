package lock_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

// TestBehaviour is what holds on every engine.
func TestBehaviour(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := open(t, e.URL, e.Namespace, patient)
		other := open(t, e.URL, e.Namespace, patient)
		a := newLocker(t, client, lock.Options{})
		b := newLocker(t, other, lock.Options{Wait: 5 * time.Second})
		for name, test := range map[string]func(t *testing.T, a, b *lock.Locker){
			"try": testTry, "wait": testWait, "fifo": testFIFO, "do": testDo, "context": testContext, "names": testNames,
			"semaphore": testSemaphore, "semaphore queue": testSemaphoreQueue, "read write": testReadWrite, "writer first": testWriterFirst,
			"fenced": testFenced, "patience": testPatience, "campaign": testCampaign,
		} {
			t.Run(name, func(t *testing.T) { test(t, a, b) })
		}
		t.Run("all", func(t *testing.T) {
			testAll(t, newLocker(t, client, lock.Options{Group: "g{1}"}), newLocker(t, other, lock.Options{Group: "g{1}"}), a)
		})
	})
}

func testTry(t *testing.T, a, b *lock.Locker) {
	first := mustTry(t, a, "try")
	if _, err := b.TryAcquire(t.Context(), "try"); !errors.Is(err, lock.ErrNotAcquired) {
		t.Fatalf("TryAcquire of a held lock: %v", err)
	}
	if _, err := a.TryAcquire(t.Context(), "try"); !errors.Is(err, lock.ErrNotAcquired) {
		t.Fatalf("TryAcquire by the same process: %v", err)
	}
	mustRelease(t, first)
	if err := first.Release(t.Context()); err != nil {
		t.Fatalf("the second Release: %v", err)
	}
	second := mustTry(t, b, "try")
	if second.Token() <= first.Token() {
		t.Fatalf("token %d after %d", second.Token(), first.Token())
	}
	mustRelease(t, second)
}

func testWait(t *testing.T, a, b *lock.Locker) {
	held := mustTry(t, a, "wait")
	got := make(chan *lock.Lock, 1)
	go func() {
		lk, err := b.Acquire(context.Background(), "wait")
		if err != nil {
			t.Error(err)
		}
		got <- lk
	}()
	rig.Eventually(t, 5*time.Second, "b waits", func() bool { return b.Stats().Waiting == 1 })
	mustRelease(t, held)
	next := soon(t, "the waiter has the lock", got)
	if next.Token() <= held.Token() {
		t.Fatalf("token %d after %d", next.Token(), held.Token())
	}
	mustRelease(t, next)
}

// testFIFO: who comes first is served first, whichever process it is.
func testFIFO(t *testing.T, a, b *lock.Locker) {
	held := mustTry(t, a, "fifo")
	const n = 6
	order := make(chan int, n)
	for i := range n {
		l := []*lock.Locker{a, b}[i%2]
		before := a.Stats().Waiting + b.Stats().Waiting
		go func() {
			lk, err := l.Acquire(context.Background(), "fifo")
			if err != nil {
				t.Error(err)
				order <- -1
				return
			}
			order <- i
			if err := lk.Release(context.Background()); err != nil {
				t.Error(err)
			}
		}()
		rig.Eventually(t, 5*time.Second, "one more waits", func() bool { return a.Stats().Waiting+b.Stats().Waiting == before+1 })
	}
	mustRelease(t, held)
	for want := range n {
		if got := soon(t, "the next is served", order); got != want {
			t.Fatalf("waiter %d was served in the place of %d", got, want)
		}
	}
}

type ctxKey struct{}

func testDo(t *testing.T, a, b *lock.Locker) {
	boom := errors.New("boom")
	ctx := context.WithValue(t.Context(), ctxKey{}, "value")
	err := a.Do(ctx, "do", func(ctx context.Context, held *lock.Lock) error {
		if ctx.Value(ctxKey{}) != "value" || held.Context().Value(ctxKey{}) != "value" {
			t.Error("a value of the caller's context is missing")
		}
		if _, err := b.TryAcquire(ctx, "do"); !errors.Is(err, lock.ErrNotAcquired) {
			t.Errorf("TryAcquire inside Do: %v", err)
		}
		return boom
	})
	if !errors.Is(err, boom) || errors.Is(err, lock.ErrLost) {
		t.Fatalf("Do: %v", err)
	}
	func() {
		defer func() {
			if recover() != "panic" {
				t.Error("the panic did not go on")
			}
		}()
		a.Do(ctx, "do", func(context.Context, *lock.Lock) error { panic("panic") }) // never returns
	}()
	mustRelease(t, mustTry(t, b, "do"))

	ctx, cancel := context.WithCancel(ctx)
	err = a.Do(ctx, "do", func(inner context.Context, held *lock.Lock) error {
		cancel()
		<-inner.Done()
		if held.Context().Err() != nil {
			t.Error("the lock's own context ended with the caller's")
		}
		return inner.Err()
	})
	if !errors.Is(err, context.Canceled) || errors.Is(err, lock.ErrLost) {
		t.Fatalf("Do with a cancelled context: %v", err)
	}
	mustRelease(t, mustTry(t, b, "do"))
}

func testContext(t *testing.T, a, b *lock.Locker) {
	ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), ctxKey{}, "value"), time.Minute)
	held, err := a.TryAcquire(ctx, "context")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if held.Context().Err() != nil {
		t.Fatal("Context ended with the context of Acquire")
	}
	if _, ok := held.Context().Deadline(); ok || held.Context().Value(ctxKey{}) != "value" {
		t.Fatal("Context has the deadline or lacks the values of the context of Acquire")
	}
	derived, stop := context.WithCancel(held.Context())
	defer stop()
	mustRelease(t, held)
	<-derived.Done()
	if held.Context().Err() == nil || errors.Is(context.Cause(held.Context()), lock.ErrLost) {
		t.Fatalf("after Release Context's cause is %v", context.Cause(held.Context()))
	}
}

func testNames(t *testing.T, a, b *lock.Locker) {
	names := []string{"", "a", "a:b", "a:q", "q", "{a}", "}{", "*", "?", "\x00", "\xff\xfe", " ", "%", strings.Repeat("x", lock.MaxName), "s", "wake.x"}
	for _, name := range names {
		held := mustTry(t, a, name) // none is another
		if _, err := b.TryAcquire(t.Context(), name); !errors.Is(err, lock.ErrNotAcquired) {
			t.Errorf("%q: %v", name, err)
		}
		defer mustRelease(t, held)
	}
	if _, err := a.TryAcquire(t.Context(), strings.Repeat("x", lock.MaxName+1)); err == nil || !strings.Contains(err.Error(), "1025 bytes") {
		t.Errorf("a name that is too long: %v", err)
	}
}

func gate(t *testing.T, g *lock.Gate, err error) *lock.Gate {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func testSemaphore(t *testing.T, a, b *lock.Locker) {
	ga, err := a.Semaphore("sem", 3)
	ga = gate(t, ga, err)
	gb, err := b.Semaphore("sem", 3)
	gb = gate(t, gb, err)
	var all []*lock.Lock
	var last int64
	for i, g := range []*lock.Gate{ga, gb, ga} {
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

// testSemaphoreQueue: never more than n at once, and everybody's turn comes.
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
	read = gate(t, read, err)
	write, err := b.Writer("rw")
	write = gate(t, write, err)
	r1, err := read.TryAcquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r2, err := read.TryAcquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := write.TryAcquire(t.Context()); !errors.Is(err, lock.ErrNotAcquired) {
		t.Fatalf("a writer beside readers: %v", err)
	}
	mustRelease(t, r1)
	mustRelease(t, r2)
	w, err := write.TryAcquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := read.TryAcquire(t.Context()); !errors.Is(err, lock.ErrNotAcquired) {
		t.Fatalf("a reader beside a writer: %v", err)
	}
	if _, err := write.TryAcquire(t.Context()); !errors.Is(err, lock.ErrNotAcquired) {
		t.Fatalf("a second writer: %v", err)
	}
	if w.Token() <= r2.Token() {
		t.Fatalf("token %d after %d", w.Token(), r2.Token())
	}
	mustRelease(t, w)
}

// testWriterFirst: a waiting writer goes before readers, those that came before it included, and then all readers go
// together.
func testWriterFirst(t *testing.T, a, b *lock.Locker) {
	read, err := a.Reader("wf")
	read = gate(t, read, err)
	write, err := b.Writer("wf")
	write = gate(t, write, err)
	first, err := write.TryAcquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	type got struct {
		who string
		lk  *lock.Lock
	}
	order := make(chan got, 3)
	enter := func(who string, g *lock.Gate) {
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
		t.Fatalf("a reader beside a writer: %v", err)
	}
	mustRelease(t, w.lk)
	r1, r2 := soon(t, "a reader is served", order), soon(t, "the other reader is served beside it", order)
	mustRelease(t, r1.lk)
	mustRelease(t, r2.lk)
}

func testFenced(t *testing.T, a, b *lock.Locker) {
	ctx := t.Context()
	old := mustTry(t, a, "fenced")
	if err := a.FencedSet(ctx, old, "k", []byte("old"), time.Minute); err != nil {
		t.Fatal(err)
	}
	mustRelease(t, old)
	young := mustTry(t, b, "fenced")
	defer mustRelease(t, young)
	if err := b.FencedSet(ctx, young, "k", []byte("young"), time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := a.FencedSet(ctx, old, "k", []byte("late"), time.Minute); !errors.Is(err, lock.ErrLost) {
		t.Fatalf("a late write with an old token: %v", err)
	}
	value, ok, err := a.FencedGet(ctx, "k")
	if err != nil || !ok || string(value) != "young" {
		t.Fatalf("FencedGet = %q, %v, %v", value, ok, err)
	}
	if _, ok, err := a.FencedGet(ctx, "absent"); ok || err != nil {
		t.Fatalf("FencedGet of nothing: %v, %v", ok, err)
	}
}

// testPatience: a context that ends while waiting gives both reasons, and nothing stays in the queue.
func testPatience(t *testing.T, a, b *lock.Locker) {
	held := mustTry(t, a, "patience")
	ctx, cancel := context.WithCancelCause(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := b.Acquire(ctx, "patience")
		result <- err
	}()
	rig.Eventually(t, 5*time.Second, "b waits", func() bool { return b.Stats().Waiting == 1 })
	enough := errors.New("enough")
	cancel(enough)
	if err := soon(t, "Acquire returns", result); !errors.Is(err, lock.ErrNotAcquired) || !errors.Is(err, context.Canceled) || !errors.Is(err, enough) {
		t.Fatalf("Acquire whose context ended while it waited: %v", err)
	}
	mustRelease(t, held)
	rig.Eventually(t, time.Second, "the lock is free for others", func() bool {
		held, err := a.TryAcquire(t.Context(), "patience")
		if err != nil {
			return false
		}
		mustRelease(t, held)
		return true
	})
}

func testCampaign(t *testing.T, a, b *lock.Locker) {
	ctx, cancel := context.WithCancel(t.Context())
	terms := make(chan int64, 2)
	resign := make(chan error)
	results := make(chan error, 2)
	for _, l := range []*lock.Locker{a, b} {
		e, err := l.Election("leader")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			results <- e.Campaign(ctx, func(ctx context.Context, held *lock.Lock) error {
				terms <- held.Token()
				select {
				case err := <-resign:
					return err
				case <-ctx.Done():
					return nil
				}
			})
		}()
	}
	first := soon(t, "somebody leads", terms)
	boom := errors.New("resigned")
	resign <- boom
	if err := soon(t, "the first campaign ends", results); !errors.Is(err, boom) {
		t.Fatalf("Campaign returned %v", err)
	}
	if second := soon(t, "the other leads", terms); second <= first {
		t.Fatalf("term %d after %d", second, first)
	}
	cancel()
	if err := soon(t, "the second campaign ends", results); !errors.Is(err, context.Canceled) {
		t.Fatalf("Campaign returned %v", err)
	}
}

func testAll(t *testing.T, a, b, plain *lock.Locker) {
	ga, err := a.All("x", "y", "z:q")
	ga = gate(t, ga, err)
	gb, err := b.All("z:q", "w")
	gb = gate(t, gb, err)
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
	mustRelease(t, mustTry(t, plain, "x")) // no group, another lock
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

	// Opposite orders do not deadlock.
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
