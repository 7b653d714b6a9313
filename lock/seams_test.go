package lock_test

import (
	"context"
	"errors"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/observe"
)

// Tests of states that one script leaves for another: leases that end with an empty queue, names
// lost one by one, a full server, missing rights.

func mustAll(t testing.TB, l *lock.Locker, names ...string) *lock.Resource {
	t.Helper()
	g, err := l.All(names...)
	return resourceOf(t, g, err)
}

func resourceOf(t testing.TB, g *lock.Resource, err error) *lock.Resource {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestK5_AllAfterACrashAndATimedOutWaiter: a lease that ended with an empty queue is free for All
// too.
func TestK5_AllAfterACrashAndATimedOutWaiter(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	proxy := rig.NewProxy(t, server.Addr())
	const ttl = 500 * time.Millisecond
	crashed := newLocker(t, open(t, proxy.URL(), "app"), lock.Options{TTL: ttl, Group: "g"})
	l := newLocker(t, open(t, server.URL(), "app", patient), lock.Options{TTL: ttl, Group: "g", Wait: 50 * time.Millisecond})
	mustTry(t, crashed, "x")
	if _, err := l.Acquire(t.Context(), "x"); !errors.Is(err, lock.ErrNotAcquired) {
		t.Fatal(err)
	}
	rig.Eventually(t, 5*time.Second, "the waiter has left",
		func() bool { return server.CLI("EXISTS", "app:lock:{g}:q:x") == "0" })
	proxy.Stall()
	defer proxy.Resume()
	rig.Eventually(t, ttl+5*time.Second, "All takes a name whose lease has ended", func() bool {
		_, err := mustAll(t, l, "x", "y").TryAcquire(t.Context())
		return err == nil
	})
}

// TestK4_PartlyLostAllFreesTheOthers: one name of two is gone. The other name is not blocked for
// the rest of the lease.
func TestK4_PartlyLostAllFreesTheOthers(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	const ttl = 9 * time.Second
	l := newLocker(t, open(t, server.URL(), "app", patient), lock.Options{TTL: ttl, Group: "g"})
	other := newLocker(t, open(t, server.URL(), "app", patient), lock.Options{Group: "g"})
	held, err := mustAll(t, l, "a", "b").TryAcquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	server.CLI("DEL", "app:lock:{g}::a")
	soon(t, "the loss is noticed", held.Context().Done())
	began := time.Now()
	rig.Eventually(t, ttl/2, "the other name is free", func() bool {
		_, err := other.TryAcquire(t.Context(), "b")
		return err == nil
	})
	t.Logf("free %v after the loss, of a lease of %v", time.Since(began), ttl)
	if err := held.Release(t.Context()); !errors.Is(err, lock.ErrLost) {
		t.Fatal(err)
	}
}

// TestK4_AllOnAFullServer: what a waiting All receives on a full server does not stay behind.
func TestK4_AllOnAFullServer(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	l := newLocker(t, open(t, server.URL(), "app", patient), lock.Options{TTL: time.Minute, Group: "g"})
	other := newLocker(t, open(t, server.URL(), "app", patient), lock.Options{TTL: time.Minute, Group: "g"})
	held := mustTry(t, other, "a")
	done := make(chan error, 1)
	go func() {
		done <- mustAll(t, l, "a", "b").Do(t.Context(), func(context.Context, *lock.Lock) error { return nil })
	}()
	rig.Eventually(t, 5*time.Second, "All waits", func() bool { return l.Stats().Waiting == 1 })
	full(server)
	mustRelease(t, held)
	t.Log("All on a full server:", soon(t, "All ends", done))
	for _, name := range []string{"a", "b"} { // before another script removes the dead waiters
		rig.Eventually(t, 5*time.Second, "nothing of the All is left", func() bool {
			info, err := other.Inspect(t.Context(), name)
			return err == nil && info.Waiting == 0 && info.Held == 0
		})
	}
	server.CLI("CONFIG", "SET", "maxmemory", "0")
	rig.Eventually(t, 5*time.Second, "both names are free", func() bool {
		held, err := mustAll(t, other, "a", "b").TryAcquire(t.Context())
		if err == nil {
			mustRelease(t, held)
		}
		return err == nil
	})
}

// full makes a server refuse commands that need memory.
func full(server *rig.Server) {
	server.CLI("CONFIG", "SET", "maxmemory-policy", "noeviction")
	server.CLI("CONFIG", "SET", "maxmemory", "1")
}

// TestAllIsServedOnBusyNames: All gets names that other callers acquire all the time.
func TestAllIsServedOnBusyNames(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	var grants atomic.Int64
	for i := range 6 {
		l := newLocker(t, open(t, server.URL(), "app", patient), lock.Options{Group: "g", Wait: lock.WaitForever})
		wg.Go(func() {
			for ctx.Err() == nil {
				if held, err := l.Acquire(ctx, []string{"x", "y"}[i%2]); err == nil {
					grants.Add(1)
					pause(2 * time.Millisecond)
					held.Release(context.Background())
				}
			}
		})
	}
	l := newLocker(t, open(t, server.URL(), "app", patient), lock.Options{Group: "g"})
	rig.Eventually(t, 10*time.Second, "the names are busy", func() bool { return grants.Load() > 50 })
	for range 3 {
		before := grants.Load()
		held, err := mustAll(t, l, "x", "y").Acquire(ctx)
		if err != nil {
			t.Fatalf("while %d single locks were granted: %v", grants.Load()-before, err)
		}
		t.Logf("after %d single grants", grants.Load()-before)
		mustRelease(t, held)
	}
}

// TestK3_AFullServerKeepsHeldLocks: at maxmemory under noeviction, renewals, hand-offs and releases
// work. A new lock is refused.
func TestK3_AFullServerKeepsHeldLocks(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	l := newLocker(t, open(t, server.URL(), "app", patient), lock.Options{TTL: 3 * time.Second, Group: "g"})
	sem, err := l.Semaphore("s", 2)
	sem = resourceOf(t, sem, err)
	write, err := l.Writer("w")
	write = resourceOf(t, write, err)
	var all []*lock.Lock
	take := func(held *lock.Lock, err error) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, held)
	}
	take(l.TryAcquire(t.Context(), "m"))
	take(sem.TryAcquire(t.Context()))
	take(write.TryAcquire(t.Context()))
	take(mustAll(t, l, "a", "b").TryAcquire(t.Context()))
	next := make(chan *lock.Lock, 1)
	go func() { next <- mustAcquire(t, l, "m") }()
	rig.Eventually(t, 5*time.Second, "one waits", func() bool { return l.Stats().Waiting == 1 })
	full(server)
	if _, err := l.TryAcquire(t.Context(), "new"); !errors.Is(err, redstart.ErrFull) {
		t.Fatalf("a new lock on a full server: %v", err)
	}
	before := l.Stats().Renewals
	rig.Eventually(t, 10*time.Second, "all are renewed, or lost", func() bool {
		s := l.Stats()
		return s.Lost > 0 || s.Renewals > before+2*int64(len(all))
	})
	if n := l.Stats().Lost; n != 0 {
		t.Fatalf("%d locks were lost on a full server", n)
	}
	for _, held := range all {
		mustRelease(t, held)
	}
	mustRelease(t, soon(t, "the lock passes on", next))
	server.CLI("CONFIG", "SET", "maxmemory", "0")
	mustRelease(t, mustTry(t, l, "m"))
}

// logged collects log messages.
type logged struct {
	mu    sync.Mutex
	lines []string
}

func (c *logged) Write(line []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, string(line))
	return len(line), nil
}

func (c *logged) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.lines, "")
}

func (c *logged) count(part string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, line := range c.lines {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}

var rejected = regexp.MustCompile(`cmdstat_ssubscribe:\S*rejected_calls=(\d+)`)

// TestK5_WithoutAChannelRight: waiters poll, subscribe again after long pauses, and log the missing
// right once. A release whose message is refused hands the lock over nevertheless.
func TestK5_WithoutAChannelRight(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	server.CLI("ACL", "SETUSER", "deaf", "on", ">deaf", "~*", "resetchannels", "+@all")
	log := &logged{}
	logger := func(cfg *redstart.Config) { cfg.Logger = slog.New(slog.NewTextHandler(log, nil)) }
	url := server.URLAs("deaf", "deaf")
	a := newLocker(t, open(t, url, "app", patient, logger), lock.Options{TTL: time.Minute, Wait: lock.WaitForever})
	b := newLocker(t, open(t, url, "app", patient, logger), lock.Options{TTL: time.Minute, Wait: lock.WaitForever})
	held := mustTry(t, a, "n")
	got := make(chan *lock.Lock, 5)
	for range cap(got) {
		go func() { got <- mustAcquire(t, b, "n") }()
	}
	rig.Eventually(t, 5*time.Second, "all wait", func() bool { return b.Stats().Waiting == int64(cap(got)) })
	began := time.Now()
	pause(2 * time.Second)
	m := rejected.FindStringSubmatch(server.CLI("INFO", "commandstats"))
	if m == nil {
		t.Fatal("no subscription was refused: the test is broken")
	}
	if n, _ := strconv.Atoi(m[1]); float64(n) > 10*time.Since(began).Seconds() {
		t.Errorf("%d subscriptions were refused in %v", n, time.Since(began))
	}
	for range cap(got) {
		mustRelease(t, held)
		held = soon(t, "the lock passes on without a message", got)
	}
	mustRelease(t, held)
	for _, missing := range []string{"may not subscribe", "may not publish"} {
		if n := log.count(missing); n < 1 || n > 2 { // once for each Locker
			t.Errorf("%q was reported %d times", missing, n)
		}
	}
}

func (spans) Start(ctx context.Context, op observe.Operation) (context.Context, func(error)) {
	return context.WithValue(ctx, spanKey{}, op.Verb), func(error) {}
}
