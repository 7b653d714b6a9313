package lock_test

import (
	"context"
	"errors"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

// TestA7_CloseReleasesLocks: Close ends the held locks, releases them at once, and leaves no
// goroutine.
func TestA7_CloseReleasesLocks(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	namespace := rig.Prefix(t)
	client, err := redstart.Open(t.Context(), redstart.Config{URL: server.URL(), Namespace: namespace})
	if err != nil {
		t.Fatal(err)
	}
	l := newLocker(t, client, lock.Options{TTL: time.Minute})
	other := newLocker(t, open(t, server.URL(), namespace), lock.Options{})
	held := mustTry(t, l, "n")
	waiting := mustTry(t, other, "m")
	result := make(chan error, 1)
	go func() {
		_, err := l.Acquire(context.Background(), "m")
		result <- err
	}()
	rig.Eventually(t, 5*time.Second, "one waits", func() bool { return l.Stats().Waiting == 1 })
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(context.Cause(held.Context()), lock.ErrLost) {
		t.Fatalf("after Close Context's cause is %v", context.Cause(held.Context()))
	}
	mustRelease(t, mustTry(t, other, "n"))
	watch := rig.Watch(t)
	if err := soon(t, "the waiter returns", result); !errors.Is(err, redstart.ErrUnavailable) || watch.Took() > time.Second {
		t.Fatalf("Acquire on a closed client returned after %v: %v", watch.Took(), err)
	}
	if _, err := l.TryAcquire(t.Context(), "n"); !errors.Is(err, redstart.ErrUnavailable) {
		t.Fatalf("TryAcquire on a closed client: %v", err)
	}
	mustRelease(t, waiting)
}

// TestManyLocks: goroutines and renewals do not grow with the number of held locks.
func TestManyLocks(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	server := rig.Standalone(t)
	l := newLocker(t, open(t, server.URL(), "app", patient), lock.Options{TTL: 3 * time.Second})
	const n = 2000
	locks := make([]*lock.Lock, n)
	mustRelease(t, mustTry(t, l, "warm"))
	var wg sync.WaitGroup
	for w := range 20 {
		wg.Go(func() {
			for i := w; i < n; i += 20 {
				locks[i] = mustTry(t, l, strconv.Itoa(i))
			}
		})
	}
	wg.Wait()
	before := runtime.NumGoroutine()
	calls := server.CommandStats()["evalsha"]
	began := time.Now()
	rig.Eventually(t, 20*time.Second, "each is renewed twice", func() bool { return l.Stats().Renewals >= 2*n })
	t.Logf("%d locks: %d renewals, %d scripts in %v; %d goroutines in this process", n, l.Stats().Renewals,
		server.CommandStats()["evalsha"]-calls, time.Since(began), before)
	for _, held := range locks {
		if held.Context().Err() != nil {
			t.Fatal("a lock was lost")
		}
	}
	if l.Stats().Lost != 0 || l.Stats().Held != n {
		t.Fatalf("%+v", l.Stats())
	}
}

// TestMaxHold: the maximum ends the context. After the holder's release, other callers get the
// lock.
func TestMaxHold(t *testing.T) {
	t.Parallel()
	const ttl, maxHold = 30 * time.Second, 200 * time.Millisecond
	server := rig.Shared(t)
	namespace := rig.Prefix(t)
	l := newLocker(t, open(t, server.URL(), namespace, patient), lock.Options{TTL: ttl, MaxHold: maxHold})
	began, watch := time.Now(), rig.Watch(t)
	err := l.Do(t.Context(), "n", func(ctx context.Context, held *lock.Lock) error {
		<-ctx.Done()
		return nil
	})
	if !errors.Is(err, lock.ErrLost) || !strings.Contains(err.Error(), "MaxHold") {
		t.Fatalf("Do past MaxHold: %v", err)
	}
	if took := watch.Took(); time.Since(began) < maxHold || took > 2*maxHold {
		t.Fatalf("MaxHold of %v ended Do after %v", maxHold, took)
	}
	rig.Eventually(t, ttl/2, "it is free again, long before the lease ends", func() bool {
		_, err := l.TryAcquire(t.Context(), "n")
		return err == nil
	})
}

// TestMinReplicas: a lock is granted with enough replicas, and released with too few.
func TestMinReplicas(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	s := rig.SharedSentinel(t)
	namespace := rig.Prefix(t)
	client := open(t, s.URL(), namespace, patient)
	enough := newLocker(t, client, lock.Options{MinReplicas: 2})
	held := mustAcquire(t, enough, "n")
	for _, server := range s.Servers() {
		if got := server.CLI("EXISTS", namespace+":lock:{n}"); got != "1" {
			t.Errorf("%s does not have the lock", server.Addr())
		}
	}
	mustRelease(t, held)
	tooMany := newLocker(t, client, lock.Options{MinReplicas: 3})
	if _, err := tooMany.TryAcquire(t.Context(), "n"); !errors.Is(err, lock.ErrNotReplicated) {
		t.Fatalf("with two of three replicas: %v", err)
	}
	rig.Eventually(t, time.Second, "it was given back", func() bool {
		held, err := enough.TryAcquire(t.Context(), "n")
		if err != nil {
			return false
		}
		mustRelease(t, held)
		return true
	})
}

func TestMinReplicasInACluster(t *testing.T) {
	t.Parallel()
	cluster := rig.SharedCluster(t)
	l := newLocker(t, open(t, cluster.URL(), rig.Prefix(t), patient), lock.Options{MinReplicas: 1})
	for i := range 10 {
		mustRelease(t, mustAcquire(t, l, strconv.Itoa(i)))
	}
}

// TestA4_EveryKeyExpires: after all kinds of use, every key has a TTL.
func TestA4_EveryKeyExpires(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	l := newLocker(t, open(t, server.URL(), "app", patient), lock.Options{Group: "g"})
	other := newLocker(t, open(t, server.URL(), "app", patient), lock.Options{Group: "g", Wait: 50 * time.Millisecond})
	sem, _ := l.Semaphore("n", 1)
	otherSem, _ := other.Semaphore("n", 1)
	all, _ := l.All("a", "b")
	check := func() {
		t.Helper()
		for _, key := range strings.Fields(server.CLI("KEYS", "*")) {
			ttl, err := strconv.Atoi(server.CLI("TTL", key))
			if gone := ttl == -2; err != nil || !gone && (ttl < 1 || ttl > 700) {
				t.Errorf("the TTL of %s is %d s", key, ttl)
			}
		}
	}
	for _, take := range []func() (*lock.Lock, error){
		func() (*lock.Lock, error) { return l.TryAcquire(t.Context(), "n") },
		func() (*lock.Lock, error) { return sem.TryAcquire(t.Context()) },
		func() (*lock.Lock, error) { return all.TryAcquire(t.Context()) },
	} {
		held, err := take()
		if err != nil {
			t.Fatal(err)
		}
		check()
		for _, wait := range []func(context.Context, ...lock.CallOption) (*lock.Lock, error){
			func(ctx context.Context, _ ...lock.CallOption) (*lock.Lock, error) { return other.Acquire(ctx, "n") },
			func(ctx context.Context, _ ...lock.CallOption) (*lock.Lock, error) { return other.Acquire(ctx, "a") },
			otherSem.Acquire,
		} {
			done := make(chan struct{})
			go func() {
				defer close(done)
				if lk, err := wait(t.Context()); err == nil {
					mustRelease(t, lk)
				}
			}()
			rig.Eventually(t, 5*time.Second, "waits, or has been", func() bool {
				select {
				case <-done:
					return true
				default:
					return server.CLI("EXISTS", "app:lock:{g}:q:n", "app:lock:{g}:q:a", "app:lock:{g}:sq:n") != "0"
				}
			})
			check()
			<-done
			check()
		}
		if err := l.FencedSet(t.Context(), held, "k", nil, time.Minute); err != nil {
			t.Fatal(err)
		}
		mustRelease(t, held)
		check()
	}
}

// TestA6_ScriptsAreSentAgain: scripts that the server forgot are sent again, and the caller does
// not notice.
func TestA6_ScriptsAreSentAgain(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	l := newLocker(t, open(t, server.URL(), "app", patient), lock.Options{TTL: 6 * time.Second})
	held := mustTry(t, l, "n")
	for range 2 {
		server.CLI("SCRIPT", "FLUSH")
		n := l.Stats().Renewals
		rig.Eventually(t, time.Minute, "renewed or lost", func() bool { return l.Stats().Renewals > n || held.Err() != nil })
		if err := held.Err(); err != nil {
			t.Fatal(err)
		}
	}
	server.CLI("SCRIPT", "FLUSH")
	mustRelease(t, held)
	if l.Stats().Lost != 0 {
		t.Fatal("lost")
	}
}

// TestA2_Errors checks the texts of errors.
func TestA2_Errors(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	client := open(t, server.URL(), "app")
	for _, tt := range []struct {
		opts lock.Options
		want string
	}{
		{lock.Options{TTL: time.Millisecond}, "Options.TTL is 1ms"},
		{lock.Options{TTL: 25 * time.Hour}, "Options.TTL"},
		{lock.Options{TTL: -1}, "Options.TTL"},
		{lock.Options{Wait: -2}, "Options.Wait"},
		{lock.Options{Margin: 6 * time.Second}, "Options.Margin"},
		{lock.Options{Margin: -1}, "Options.Margin"},
		{lock.Options{MaxHold: -1}, "Options.MaxHold"},
		{lock.Options{MinReplicas: -1}, "Options.MinReplicas"},
		{lock.Options{Group: strings.Repeat("g", lock.MaxName+1)}, "Options.Group"},
	} {
		if _, err := lock.New(client, tt.opts); err == nil || !strings.HasPrefix(err.Error(), "lock: "+tt.want) {
			t.Errorf("New(%+v): %v, want lock: %s…", tt.opts, err, tt.want)
		}
	}
	if _, err := lock.New(nil, lock.Options{}); err == nil {
		t.Error("New without a client")
	}
	l := newLocker(t, client, lock.Options{})
	for _, n := range []int{0, -1, 1_000_001} {
		if _, err := l.Semaphore("n", n); err == nil || !strings.Contains(err.Error(), "n is "+strconv.Itoa(n)) {
			t.Errorf("Semaphore of %d: %v", n, err)
		}
	}
	server.CLI("SET", "app:lock:{foreign}", "something else")
	if _, err := l.TryAcquire(t.Context(), "foreign"); !errors.Is(err, redstart.ErrCorrupt) {
		t.Errorf("a key of another program: %v", err)
	}
	server.CLI("SET", "app:lock:{future}", "2 1 1 1 0 -")
	if _, err := l.Acquire(t.Context(), "future"); !errors.Is(err, redstart.ErrCorrupt) {
		t.Errorf("a format of another release: %v", err)
	}
	server.CLI("ACL", "SETUSER", "poor", "on", ">poor", "~other:*", "&*", "+@all")
	u, err := url.Parse(server.URLAs("poor", "poor"))
	if err != nil {
		t.Fatal(err)
	}
	poor := newLocker(t, open(t, u.String(), "app"), lock.Options{})
	if _, err := poor.TryAcquire(t.Context(), "n"); !errors.Is(err, redstart.ErrDenied) {
		t.Errorf("a user without rights: %v", err)
	}
	server.CLI("CONFIG", "SET", "maxmemory", "1")
	if _, err := l.TryAcquire(t.Context(), "n"); !errors.Is(err, redstart.ErrFull) {
		t.Errorf("a full server: %v", err)
	}
	server.CLI("CONFIG", "SET", "maxmemory", "0")
	server.Kill()
	if _, err := l.TryAcquire(t.Context(), "n"); !errors.Is(err, redstart.ErrUnavailable) &&
		!errors.Is(err, redstart.ErrIndeterminate) {
		t.Errorf("a dead server: %v", err)
	}
}
