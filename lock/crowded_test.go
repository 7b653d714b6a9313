package lock_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

// TestAllOfManyNames: contenders for the same hundred names, in any order, all get them, and none
// loses a lock.
func TestAllOfManyNames(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	server := rig.Standalone(t)
	names := make([]string, 100)
	for i := range names {
		names[i] = "name " + strconv.Itoa(i)
	}
	const contenders, each = 16, 10
	var wg sync.WaitGroup
	var lockers []*lock.Locker
	for i := range contenders {
		l := newLocker(t, open(t, server.URL(), "app", patient), lock.Options{Group: "g", Wait: lock.WaitForever})
		lockers = append(lockers, l)
		own := slices.Clone(names)
		rand.Shuffle(len(own), func(i, j int) { own[i], own[j] = own[j], own[i] })
		wg.Go(func() {
			for range each {
				held, err := mustAll(t, l, own[:100-i]...).Acquire(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				pause(rand.N(2 * time.Millisecond))
				mustRelease(t, held)
			}
		})
	}
	wg.Wait()
	for _, l := range lockers {
		if s := l.Stats(); s.Lost != 0 || s.Acquired != each {
			t.Errorf("%+v", s)
		}
	}
}

// TestK4_ManyCanceledWaits: ten thousand waiters whose contexts end at once return, leave no place
// in the queue, and delay other callers no longer than a process without waiters does.
func TestK4_ManyCanceledWaits(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	server := rig.Standalone(t)
	l := newLocker(t, open(t, server.URL(), "app", patient), lock.Options{Wait: lock.WaitForever, TTL: time.Minute})
	other := newLocker(t, open(t, server.URL(), "app", patient), lock.Options{TTL: time.Minute})
	held := mustTry(t, other, "n")
	waiters := rig.Soak(3000, 10_000)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range waiters {
		wg.Go(func() {
			if _, err := l.Acquire(ctx, "n"); !errors.Is(err, lock.ErrNotAcquired) || !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	rig.Eventually(t, 60*time.Second, "all wait", func() bool { return l.Stats().Waiting == int64(waiters) })
	watch := rig.Watch(t)
	cancel()
	wg.Wait()
	returned := watch.Took()
	rig.Eventually(t, 60*time.Second, "the queue is empty", func() bool { return server.CLI("ZCARD", "app:lock:{n}:q") == "0" })
	t.Logf("%d waiters returned after %v and left the queue after %v", waiters, returned, watch.Took())
	mustRelease(t, held)
	mustRelease(t, mustTry(t, l, "n"))
}

// TestWaitersOnAFullServer: waiters that were in the queue before the server was full are served in
// order while it is full.
func TestWaitersOnAFullServer(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	server := rig.Standalone(t)
	l := newLocker(t, open(t, server.URL(), "app", patient), lock.Options{Wait: lock.WaitForever, TTL: time.Minute})
	sem, err := l.Semaphore("s", 2)
	sem = resourceOf(t, sem, err)
	held := mustTry(t, l, "n")
	const waiters = 1000
	served := make(chan error, 2*waiters)
	do := func(name string, take func(context.Context) (*lock.Lock, error)) {
		got, err := take(t.Context())
		if err == nil {
			err = got.Release(context.Background())
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
		served <- err
	}
	one, err := sem.TryAcquire(t.Context(), lock.Permits(2))
	if err != nil {
		t.Fatal(err)
	}
	for range waiters {
		go do("n", func(ctx context.Context) (*lock.Lock, error) { return l.Acquire(ctx, "n") })
		go do("s", func(ctx context.Context) (*lock.Lock, error) { return sem.Acquire(ctx) })
	}
	rig.Eventually(t, 60*time.Second, "all wait", func() bool { return l.Stats().Waiting == 2*waiters })
	full(server)
	if _, err := l.Acquire(t.Context(), "n"); !errors.Is(err, redstart.ErrFull) {
		t.Errorf("a further waiter on a full server: %v", err)
	}
	mustRelease(t, held)
	mustRelease(t, one)
	for range 2 * waiters {
		if err := soon(t, "the next is served", served); err != nil {
			t.Fatal(err)
		}
	}
	if s := l.Stats(); s.Lost != 0 || s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
}
