package lock_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

// TestCallOptions checks Wait and TTL of one call, and the values that are refused.
func TestCallOptions(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	namespace := rig.Prefix(t)
	l := newLocker(t, open(t, server.URL(), namespace, patient), lock.Options{Wait: lock.WaitForever})
	held, err := l.Acquire(t.Context(), "n", lock.TTL(2*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	info, err := l.Inspect(t.Context(), "n")
	if err != nil || len(info.Holders) != 1 || info.Holders[0].Remaining < time.Minute ||
		info.Holders[0].Remaining > 2*time.Minute {
		t.Fatalf("%+v, %v", info, err)
	}
	for _, wait := range []time.Duration{0, 20 * time.Millisecond} {
		if _, err := l.Acquire(t.Context(), "n", lock.Wait(wait)); !errors.Is(err, lock.ErrNotAcquired) {
			t.Fatalf("Wait(%v): %v", wait, err)
		}
	}
	mustRelease(t, held)
	for want, opt := range map[string]lock.CallOption{
		"TTL is 1ms": lock.TTL(time.Millisecond), "Wait is -2ns": lock.Wait(-2),
		"Permits is 2": lock.Permits(2), "Permits is 0": lock.Permits(0),
		"CallOption": {},
	} {
		if _, err := l.TryAcquire(t.Context(), "n", opt); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := lock.New(open(t, server.URL(), namespace), lock.Options{Process: "a b"}); err == nil ||
		!strings.Contains(err.Error(), "Options.Process") {
		t.Error(err)
	}
}

// TestTTLOfOneCallIsRenewedInTime renews a lease of 300 ms among leases of 10 s.
func TestTTLOfOneCallIsRenewedInTime(t *testing.T) {
	t.Parallel()
	l := newLocker(t, open(t, rig.Shared(t).URL(), rig.Prefix(t), patient), lock.Options{})
	held, err := l.Acquire(t.Context(), "n", lock.TTL(1500*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	rig.Eventually(t, 10*time.Second, "four renewals", func() bool { return l.Stats().Renewals >= 4 || held.Err() != nil })
	mustRelease(t, held)
}

// TestPermits: the semaphore never grants more permits than it has, and a waiter for many permits
// is not overtaken.
func TestPermits(t *testing.T) {
	t.Parallel()
	l := newLocker(t, open(t, rig.Shared(t).URL(), rig.Prefix(t), patient), lock.Options{Wait: lock.WaitForever})
	sem, err := l.Semaphore("s", 5)
	sem = resourceOf(t, sem, err)
	try := func(n int) *lock.Lock {
		held, err := sem.TryAcquire(t.Context(), lock.Permits(n))
		if err != nil && !errors.Is(err, lock.ErrNotAcquired) {
			t.Fatal(err)
		}
		return held
	}
	three, two := try(3), try(2)
	if three == nil || two == nil || try(1) != nil {
		t.Fatal("five permits are not 3 + 2")
	}
	mustRelease(t, two)
	if try(3) != nil {
		t.Fatal("3 + 3 of five permits")
	}
	heavy := make(chan *lock.Lock, 1)
	go func() {
		held, err := sem.Acquire(context.Background(), lock.Permits(5))
		if err != nil {
			t.Error(err)
		}
		heavy <- held
	}()
	rig.Eventually(t, 5*time.Second, "the heavy one waits", func() bool { return l.Stats().Waiting == 1 })
	if try(1) != nil {
		t.Fatal("a light one overtook a heavy one that waits")
	}
	info, err := sem.Inspect(t.Context())
	if err != nil || info.Held != 1 || info.Holders[0].Permits != 3 || info.Waiting != 1 || info.Waiters[0].Permits != 5 {
		t.Fatalf("%+v, %v", info, err)
	}
	mustRelease(t, three)
	mustRelease(t, soon(t, "the heavy one is served", heavy))
	if held := try(5); held == nil {
		t.Fatal("not all permits came back")
	}
}

// TestBreak: a broken lock is handed to the next waiter, its holder notices, and only the hold that
// Inspect returned is broken.
func TestBreak(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	namespace := rig.Prefix(t)
	l := newLocker(t, open(t, server.URL(), namespace, patient),
		lock.Options{TTL: 3 * time.Second, Process: "batch-7", Wait: lock.WaitForever})
	operator := newLocker(t, open(t, server.URL(), namespace, patient), lock.Options{})
	held := mustTry(t, l, "n")
	next := make(chan *lock.Lock, 1)
	go func() { next <- mustAcquire(t, l, "n") }()
	rig.Eventually(t, 5*time.Second, "one waits", func() bool { return l.Stats().Waiting == 1 })
	info, err := operator.Inspect(t.Context(), "n")
	if err != nil || len(info.Holders) != 1 || len(info.Waiters) != 1 || info.Held != 1 || info.Waiting != 1 {
		t.Fatalf("%+v, %v", info, err)
	}
	h := info.Holders[0]
	if h.Process != "batch-7" || h.Token != held.Token() || info.Waiters[0].Process != "batch-7" {
		t.Fatalf("%+v", info)
	}
	for _, want := range []bool{true, false} {
		if broken, err := operator.Break(t.Context(), "n", h); broken != want || err != nil {
			t.Fatalf("Break: %v, %v", broken, err)
		}
	}
	second := soon(t, "the next has the lock", next)
	soon(t, "the holder learns of it", held.Context().Done())
	if !errors.Is(held.Err(), lock.ErrLost) || second.Err() != nil {
		t.Fatal(held.Err(), second.Err())
	}
	mustRelease(t, second)
}

// TestK6_WaitingCostsNoCommandPerWaiter: a process sends one heartbeat per name for all its
// waiters, and one command for up to 50 names.
func TestK6_WaitingCostsNoCommandPerWaiter(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	holder := newLocker(t, open(t, server.URL(), "app", patient), lock.Options{TTL: time.Hour})
	l := newLocker(t, open(t, server.URL(), "app", patient), lock.Options{Wait: lock.WaitForever})
	const names, waiters = 100, 1000
	for i := range names {
		mustTry(t, holder, strconv.Itoa(i))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for i := range waiters {
		name := "0"
		if i%2 == 0 {
			name = strconv.Itoa(i / 2 % names)
		}
		wg.Go(func() {
			if held, err := l.Acquire(ctx, name); err == nil {
				mustRelease(t, held)
			}
		})
	}
	rig.Eventually(t, 20*time.Second, "all wait", func() bool { return l.Stats().Waiting == waiters })
	pause(time.Second) // waiters that the subscription woke have asked
	began, before := time.Now(), server.CommandStats()["evalsha"]
	pause(2 * time.Second)
	perSecond := float64(server.CommandStats()["evalsha"]-before) / time.Since(began).Seconds()
	t.Logf("%d waiters for %d names: %.1f scripts per second", waiters, names, perSecond)
	if perSecond > 50 {
		t.Errorf("%d waiters for %d names cost %.1f scripts per second", waiters, names, perSecond)
	}
}

// TestK6_AReconnectionWakesEachWaiterOnce: the cost of one channel after a reconnection does not
// grow with the waiters of other channels.
func TestK6_AReconnectionWakesEachWaiterOnce(t *testing.T) {
	t.Parallel()
	const few, many = 500, 8000
	per := func(n int) time.Duration {
		least := lock.WakeChannels(n)
		for range 9 {
			least = min(least, lock.WakeChannels(n))
		}
		return least / time.Duration(n)
	}
	if a, b := per(few), per(many); b > 6*a+time.Microsecond {
		t.Errorf("a channel takes %v with %d channels, %v with %d", a, few, b, many)
	}
}
