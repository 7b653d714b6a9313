package lock_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

// TestK3_ManyRenewalsOverASlowNetwork: over a slow network and with a lease of 2 s, all locks are
// kept, and a command of the same client takes as long as a command of a client without locks. The
// long run has 20,000 locks and 20 ms. The short run has 3,000 locks and 80 ms: a quarter of the
// work, and still more than requests of 100 renewals, one at a time, could do. It is not parallel,
// because other work in this process would be measured too.
func TestK3_ManyRenewalsOverASlowNetwork(t *testing.T) {
	rig.Need(t, rig.TierAll)
	server := rig.Standalone(t)
	slow, other := rig.NewProxy(t, server.Addr()), rig.NewProxy(t, server.Addr())
	client, control := open(t, slow.URL(), "app", patient), open(t, other.URL(), "app", patient)
	l := newLocker(t, client, lock.Options{TTL: 2 * time.Second})
	n, latency := rig.Soak(3000, 20_000), time.Duration(rig.Soak(80, 20))*time.Millisecond
	holdMany(t, l, n)
	slow.Delay(latency)
	other.Delay(latency)

	before := l.Stats().Renewals
	var pings, controls []time.Duration
	rig.Eventually(t, 60*time.Second, "all are renewed", func() bool {
		var both sync.WaitGroup
		both.Go(func() { controls = append(controls, ping(t, control)) })
		pings = append(pings, ping(t, client))
		both.Wait()
		s := l.Stats()
		return s.Lost > 0 || len(pings) >= rig.Soak(60, 200) && s.Renewals >= before+5*int64(n)
	})
	slices.Sort(pings)
	slices.Sort(controls)
	middle, late := len(pings)/2, len(pings)*95/100
	t.Logf("%d locks, %d lost; PING %v, 95th percentile %v; of a client without locks %v, %v",
		n, l.Stats().Lost, pings[middle], pings[late], controls[middle], controls[late])
	if lost := l.Stats().Lost; lost != 0 {
		t.Fatalf("%d of %d locks were lost", lost, n)
	}
	if pings[middle] > controls[middle]*3/2 {
		t.Errorf("the median PING takes %v, of a client without locks %v", pings[middle], controls[middle])
	}
}

// TestA7_CloseReleasesManyOverASlowNetwork: the time of Close is enough for more locks than
// sequential requests could release.
func TestA7_CloseReleasesManyOverASlowNetwork(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	server := rig.Standalone(t)
	slow := rig.NewProxy(t, server.Addr())
	client, err := redstart.Open(t.Context(), redstart.Config{URL: slow.URL(), CommandTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	l := newLocker(t, client, lock.Options{TTL: time.Minute})
	const n = 4000
	holdMany(t, l, n)
	slow.Delay(100 * time.Millisecond)
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	holdMany(t, newLocker(t, open(t, server.URL(), "app", patient), lock.Options{}), n)
}

// TestA7_CloseReleasesRefusedLocks: a lock whose release was refused is released by Close, when the
// server accepts it.
func TestA7_CloseReleasesRefusedLocks(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	client, err := redstart.Open(t.Context(), redstart.Config{URL: server.URL(), CommandTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	l := newLocker(t, client, lock.Options{TTL: time.Minute})
	const n = 10
	var all []*lock.Lock
	for i := range n {
		all = append(all, mustTry(t, l, strconv.Itoa(i)))
	}
	server.CLI("ACL", "SETUSER", "default", "-evalsha", "-eval")
	for _, held := range all {
		if err := held.Release(t.Context()); !errors.Is(err, redstart.ErrDenied) {
			t.Fatal(err)
		}
	}
	rig.Eventually(t, 10*time.Second, "releases in the background are refused", func() bool { return lock.Refused(l) == n })
	server.CLI("ACL", "SETUSER", "default", "+@all")
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	holdMany(t, newLocker(t, open(t, server.URL(), "app", patient), lock.Options{}), n)
}

// TestA7_CloseLeavesQueues: when Close has returned, no queue has a waiter of the process. Such a
// waiter would delay the others by the time of a grant.
func TestA7_CloseLeavesQueues(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	client, err := redstart.Open(t.Context(), redstart.Config{URL: server.URL(), CommandTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ending := newLocker(t, client, lock.Options{Wait: lock.WaitForever})
	other := newLocker(t, open(t, server.URL(), "app", patient), lock.Options{Wait: lock.WaitForever, TTL: time.Minute})
	own, held := mustTry(t, ending, "own"), mustTry(t, other, "n")
	const waiters = 500
	var waiting sync.WaitGroup
	for i := range waiters {
		waiting.Go(func() {
			held, err := ending.Acquire(context.Background(), []string{"own", "n"}[i%2])
			if !errors.Is(err, redstart.ErrUnavailable) {
				t.Errorf("%v, %v", held, err)
			}
		})
	}
	rig.Eventually(t, 20*time.Second, "all wait", func() bool { return ending.Stats().Waiting == waiters })
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	for name, holders := range map[string]int{"own": 0, "n": 1} {
		info, err := other.Inspect(t.Context(), name)
		if err != nil || info.Waiting != 0 || info.Held != holders {
			t.Errorf("%s after Close: %d wait, %d hold, %v", name, info.Waiting, info.Held, err)
		}
	}
	waiting.Wait()
	if own.Err() == nil {
		t.Error("a lock is held after Close")
	}
	mustRelease(t, held)
}

// TestA7_CloseDuringTraffic: when Close has returned, the process holds no lock, in any state of
// its calls.
func TestA7_CloseDuringTraffic(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	slow := rig.NewProxy(t, server.Addr())
	slow.Delay(5 * time.Millisecond)
	client, err := redstart.Open(t.Context(), redstart.Config{URL: slow.URL(), CommandTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ending := newLocker(t, client, lock.Options{TTL: time.Minute})
	const callers = 128
	var traffic sync.WaitGroup
	for i := range callers {
		traffic.Go(func() {
			take := []func(context.Context, string, ...lock.CallOption) (*lock.Lock, error){ending.Acquire,
				ending.TryAcquire}[i%2]
			for {
				held, err := take(context.Background(), strconv.Itoa(i))
				if err != nil {
					return
				}
				held.Release(context.Background())
			}
		})
	}
	before := ending.Stats().Acquired
	rig.Eventually(t, 20*time.Second, "there is traffic", func() bool { return ending.Stats().Acquired > before+10*callers })
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	holdMany(t, newLocker(t, open(t, server.URL(), "app", patient), lock.Options{}), callers)
	traffic.Wait()
}

// holdMany acquires the locks of the names 0 to n-1.
func holdMany(t *testing.T, l *lock.Locker, n int) {
	t.Helper()
	const callers = 64
	var wg sync.WaitGroup
	for w := range callers {
		wg.Go(func() {
			for i := w; i < n; i += callers {
				if _, err := l.TryAcquire(context.Background(), strconv.Itoa(i)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func ping(t *testing.T, client *redstart.Client) time.Duration {
	began := time.Now()
	if err := client.Ping(context.Background()); err != nil {
		t.Error(err)
	}
	return time.Since(began)
}
