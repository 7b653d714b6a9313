package lock_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

// TestK4_OnlyTheOwnerReleases: a release works once, and does not release the lock of another
// holder.
func TestK4_OnlyTheOwnerReleases(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	l := newLocker(t, open(t, server.URL(), "app"), lock.Options{TTL: 10 * time.Second})
	old := mustTry(t, l, "n")
	server.CLI("DEL", "app:lock:{n}")
	young := mustTry(t, l, "n")
	if err := old.Release(t.Context()); !errors.Is(err, lock.ErrLost) {
		t.Fatalf("Release of what another has: %v", err)
	}
	if err := old.Release(t.Context()); err != nil {
		t.Fatalf("the second Release: %v", err)
	}
	if _, err := l.TryAcquire(t.Context(), "n"); !errors.Is(err, lock.ErrNotAcquired) {
		t.Fatalf("the release of an old lock freed the new one: %v", err)
	}
	mustRelease(t, young)
}

// TestK4_CanceledReleaseFreesTheLock: the caller's context ends, and the lock is released
// nevertheless.
func TestK4_CanceledReleaseFreesTheLock(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	l := newLocker(t, open(t, server.URL(), "app"), lock.Options{TTL: time.Minute})
	other := newLocker(t, open(t, server.URL(), "app"), lock.Options{})
	free := func(what string) {
		t.Helper()
		rig.Eventually(t, time.Second, what, func() bool {
			held, err := other.TryAcquire(t.Context(), "n")
			if err != nil {
				return false
			}
			mustRelease(t, held)
			return true
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	held := mustTry(t, l, "n")
	if err := held.Release(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("Release with a cancelled context: %v", err)
	}
	free("freed although the context was over")

	held = mustTry(t, l, "n")
	server.Stop()
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := held.Release(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Release on a stopped server: %v", err)
	}
	server.Continue()
	free("freed once the server went on")
}

// TestK4_LostAnswerOfRelease: the first answer is lost with its connection. The second request
// finds that the first has released the lock.
func TestK4_LostAnswerOfRelease(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	proxy := rig.NewProxy(t, server.Addr())
	l := newLocker(t, open(t, proxy.URL(), "app"), lock.Options{TTL: time.Minute})
	other := newLocker(t, open(t, server.URL(), "app"), lock.Options{})
	// Both locks are held for longer than 1 ms, so that their releases use the same script. After
	// the first, the server has it.
	held := mustTry(t, l, "n")
	pause(2 * time.Millisecond)
	mustRelease(t, held)
	held = mustTry(t, l, "n")
	pause(2 * time.Millisecond)
	proxy.StallReplies()
	result := make(chan error, 1)
	go func() { result <- held.Release(context.Background()) }()
	var next *lock.Lock
	rig.Eventually(t, time.Second, "released on the server", func() bool {
		var err error
		next, err = other.TryAcquire(t.Context(), "n")
		return err == nil
	})
	proxy.Resume()
	proxy.Cut()
	if err := soon(t, "Release returns", result); err != nil {
		t.Fatalf("Release whose first answer was lost: %v", err)
	}
	if next.Context().Err() != nil {
		t.Fatal("the repeated release took the next holder's lock")
	}
	mustRelease(t, next)
}

// TestK4_AcquireWithoutAnswerLeavesNoLock: acquires that ended without an answer hold nothing after
// the server continues.
func TestK4_AcquireWithoutAnswerLeavesNoLock(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	server := rig.Standalone(t)
	l := newLocker(t, open(t, server.URL(), "app"), lock.Options{TTL: time.Minute, Group: "g"})
	other := newLocker(t, open(t, server.URL(), "app"), lock.Options{Group: "g"})
	sem, err := l.Semaphore("n", 1)
	if err != nil {
		t.Fatal(err)
	}
	all, err := l.All("a", "b")
	if err != nil {
		t.Fatal(err)
	}
	otherSem, err := other.Semaphore("n", 1)
	if err != nil {
		t.Fatal(err)
	}
	otherAll, err := other.All("a", "b")
	if err != nil {
		t.Fatal(err)
	}
	var onTime punctual
	defer onTime.check(t)
	for _, tt := range []struct {
		name         string
		ours, theirs func(context.Context, ...lock.CallOption) (*lock.Lock, error)
	}{
		{"Acquire", func(ctx context.Context, _ ...lock.CallOption) (*lock.Lock, error) { return l.Acquire(ctx, "n") },
			func(ctx context.Context, _ ...lock.CallOption) (*lock.Lock, error) { return other.TryAcquire(ctx, "n") }},
		{"TryAcquire", func(ctx context.Context, _ ...lock.CallOption) (*lock.Lock, error) { return l.TryAcquire(ctx, "m") },
			func(ctx context.Context, _ ...lock.CallOption) (*lock.Lock, error) { return other.TryAcquire(ctx, "m") }},
		{"Semaphore", sem.Acquire, otherSem.TryAcquire},
		{"All", all.Acquire, otherAll.TryAcquire},
	} {
		for _, stopped := range []time.Duration{0, 2 * time.Second} {
			server.Stop()
			onTime.call(100*time.Millisecond, func(ctx context.Context) {
				if _, err := tt.ours(ctx); err == nil {
					t.Errorf("%s on a stopped server", tt.name)
				}
			})
			<-time.After(stopped) // a long stop opens the breaker and closes connections
			server.Continue()
			rig.Eventually(t, time.Second, tt.name+": another has it", func() bool {
				held, err := tt.theirs(t.Context())
				if err != nil {
					return false
				}
				mustRelease(t, held)
				return true
			})
			rig.Eventually(t, 5*time.Second, "the client is back", func() bool {
				held, err := l.TryAcquire(t.Context(), "back")
				if err == nil {
					mustRelease(t, held)
				}
				return err == nil
			})
		}
	}
}

// TestK4_CanceledWaiterLeavesTheQueue: a waiter that stops waiting is not in the queue any more,
// and hands on a lock that it got in the meantime.
func TestK4_CanceledWaiterLeavesTheQueue(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	namespace := rig.Prefix(t)
	l := newLocker(t, open(t, server.URL(), namespace, patient), lock.Options{})
	held := mustTry(t, l, "n")
	const n = 20
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(20+i)*time.Millisecond)
			defer cancel()
			if lk, err := l.Acquire(ctx, "n"); err == nil {
				mustRelease(t, lk)
			}
		})
	}
	rig.Eventually(t, 5*time.Second, "a caller waits", func() bool { return l.Stats().Waited > 0 })
	mustRelease(t, held)
	wg.Wait()
	rig.Eventually(t, time.Second, "the queue is empty", func() bool {
		return server.CLI("EXISTS", namespace+":lock:{n}:q", namespace+":lock:{n}:w") == "0"
	})
	mustRelease(t, mustTry(t, l, "n"))
}
