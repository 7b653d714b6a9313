package lock_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

// TestBehavior is the suite that every engine passes.
func TestBehavior(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := open(t, e.URL, e.Namespace, patient)
		other := open(t, e.URL, e.Namespace, patient)
		a := newLocker(t, client, lock.Options{})
		b := newLocker(t, other, lock.Options{Wait: 5 * time.Second})
		for name, test := range map[string]func(t *testing.T, a, b *lock.Locker){
			"try": testTry, "wait": testWait, "fifo": testFIFO, "do": testDo, "context": testContext, "names": testNames,
			"semaphore": testSemaphore, "semaphore queue": testSemaphoreQueue, "read write": testReadWrite,
			"writer first": testWriterFirst,
			"fenced":       testFenced, "patience": testWaitEnds, "campaign": testCampaign,
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

// testFIFO: waiters are served in order of arrival, in whichever process they are.
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
		// does not return
		a.Do(ctx, "do", func(context.Context, *lock.Lock) error { panic("panic") })
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
	names := []string{"", "a", "a:b", "a:q", "q", "{a}", "}{", "*", "?", "\x00", "\xff\xfe", " ", "%",
		strings.Repeat("x", lock.MaxName), "s", "wake.x"}
	for _, name := range names {
		held := mustTry(t, a, name) // no name equals another
		if _, err := b.TryAcquire(t.Context(), name); !errors.Is(err, lock.ErrNotAcquired) {
			t.Errorf("%q: %v", name, err)
		}
		defer mustRelease(t, held)
	}

	long := strings.Repeat("x", lock.MaxName+1)
	held := mustTry(t, a, "long")
	defer mustRelease(t, held)
	for what, call := range map[string]func() error{
		"name":       func() error { _, err := a.TryAcquire(t.Context(), long); return err },
		"fenced key": func() error { return a.FencedSet(t.Context(), held, long, nil, time.Minute) },
	} {
		if err := call(); !errors.Is(err, redstart.ErrTooLarge) || !strings.Contains(err.Error(), "1025 bytes") {
			t.Errorf("%s that is too long: %v", what, err)
		}
	}
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

// testWaitEnds: if a context ends during the wait, the error has both reasons, and nothing stays in
// the queue.
func testWaitEnds(t *testing.T, a, b *lock.Locker) {
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
	if err := soon(t, "Acquire returns", result); !errors.Is(err, lock.ErrNotAcquired) ||
		!errors.Is(err, context.Canceled) || !errors.Is(err, enough) {
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
