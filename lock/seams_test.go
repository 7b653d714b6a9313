package lock_test

import (
	"context"
	"errors"
	"fmt"
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

// What can go wrong where one script's result is another's input: leases that lapse with an empty queue, names lost one by
// one, a full server, missing rights.

func mustAll(t testing.TB, l *lock.Locker, names ...string) *lock.Gate {
	t.Helper()
	g, err := l.All(names...)
	return gateOf(t, g, err)
}

func gateOf(t testing.TB, g *lock.Gate, err error) *lock.Gate {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestK5_AllAfterACrashAndATimedOutWaiter: a lease that ended with an empty queue is free to All as well.
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
	rig.Eventually(t, 5*time.Second, "the waiter has left", func() bool { return server.CLI("EXISTS", "app:lock:{g}:q:x") == "0" })
	proxy.Stall()
	defer proxy.Resume()
	rig.Eventually(t, ttl+5*time.Second, "All takes a name whose lease has ended", func() bool {
		_, err := mustAll(t, l, "x", "y").TryAcquire(t.Context())
		return err == nil
	})
}

// TestK4_PartlyLostAllFreesTheOthers: one name of two is gone, the other is not blocked for the rest of the lease.
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

// TestK4_AllOnAFullServer: what an All that waits comes to on a full server does not stay behind.
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
	server.CLI("CONFIG", "SET", "maxmemory", "0")
	rig.Eventually(t, 5*time.Second, "both names are free", func() bool {
		held, err := mustAll(t, other, "a", "b").TryAcquire(t.Context())
		if err == nil {
			mustRelease(t, held)
		}
		return err == nil
	})
}

// full makes a server refuse what needs memory.
func full(server *rig.Server) {
	server.CLI("CONFIG", "SET", "maxmemory-policy", "noeviction")
	server.CLI("CONFIG", "SET", "maxmemory", "1")
}

// TestAllIsServedOnBusyNames: names that others want all the time.
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

// TestK3_AFullServerKeepsHeldLocks: at maxmemory under noeviction renewals, handoffs and releases work; a new lock is refused.
func TestK3_AFullServerKeepsHeldLocks(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	l := newLocker(t, open(t, server.URL(), "app", patient), lock.Options{TTL: 3 * time.Second, Group: "g"})
	sem, err := l.Semaphore("s", 2)
	sem = gateOf(t, sem, err)
	write, err := l.Writer("w")
	write = gateOf(t, write, err)
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

// TestK5_WithoutAChannelRight: waiters poll, subscribe again only now and then, and report the missing right once. A
// release whose message is refused passes the lock on all the same.
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
	pause(2 * time.Second)
	m := rejected.FindStringSubmatch(server.CLI("INFO", "commandstats"))
	if m == nil {
		t.Fatal("no subscription was refused: the test is broken")
	}
	if n, _ := strconv.Atoi(m[1]); n > 20 {
		t.Errorf("%d subscriptions were refused in 2 s", n)
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

// TestCampaignReturnsLeadsError: ErrLost of another lock is lead's own error; a lead that has returned is not called again,
// although leadership was gone by its release.
func TestCampaignReturnsLeadsError(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	l := newLocker(t, open(t, server.URL(), "app", patient), lock.Options{TTL: time.Minute})
	e, err := l.Election("leader")
	if err != nil {
		t.Fatal(err)
	}
	inner := fmt.Errorf("an inner lock: %w", lock.ErrLost)
	for name, tt := range map[string]struct {
		own  error
		gone bool
	}{
		"inner ErrLost":            {own: inner},
		"finished, then gone":      {gone: true},
		"failed, then gone":        {own: errors.New("boom"), gone: true},
		"finished":                 {},
		"failed with an own error": {own: errors.New("boom")},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		terms := 0
		err := e.Campaign(ctx, func(context.Context, *lock.Lock) error {
			if terms++; tt.gone {
				server.CLI("DEL", "app:lock:{leader}")
			}
			if terms > 3 {
				cancel()
			}
			return tt.own
		})
		cancel()
		if terms != 1 {
			t.Errorf("%s: %d terms", name, terms)
		}
		if tt.own != nil && !errors.Is(err, tt.own) || tt.own == nil && !tt.gone && err != nil || errors.Is(err, lock.ErrLost) != (tt.gone || tt.own == inner) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCampaignPausesAfterALostTerm: terms that end at once do not follow each other at the speed of the server.
func TestCampaignPausesAfterALostTerm(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	l := newLocker(t, open(t, server.URL(), rig.Prefix(t), patient), lock.Options{MaxHold: time.Millisecond})
	e, err := l.Election("leader")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	terms := 0
	err = e.Campaign(ctx, func(ctx context.Context, _ *lock.Lock) error {
		terms++
		<-ctx.Done()
		return errors.New("lead's own")
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if terms < 2 || terms > 20 {
		t.Errorf("%d terms in 2 s", terms)
	}
}

// TestElection: who leads is known, a leader resigns, and another takes over.
func TestElection(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	namespace := rig.Prefix(t)
	type started struct {
		e    *lock.Election
		held *lock.Lock
	}
	leads := make(chan started, 2)
	results := make(chan error, 2)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, who := range []string{"one", "two"} {
		l := newLocker(t, open(t, server.URL(), namespace, patient), lock.Options{Holder: who})
		e, err := l.Election("leader")
		if err != nil {
			t.Fatal(err)
		}
		if who == "one" {
			if _, ok, err := e.Leader(ctx); ok || err != nil {
				t.Fatalf("a leader before the election: %v, %v", ok, err)
			}
			if err := e.Resign(ctx); err != nil {
				t.Fatal(err)
			}
		}
		go func() {
			results <- e.Campaign(ctx, func(ctx context.Context, held *lock.Lock) error {
				leads <- started{e, held}
				<-ctx.Done()
				return context.Cause(ctx)
			})
		}()
	}
	first := soon(t, "one leads", leads)
	before, ok, err := first.e.Leader(ctx)
	if err != nil || !ok || before.Term != first.held.Token() || before.Remaining <= 0 {
		t.Fatalf("%+v, %v, %v", before, ok, err)
	}
	if err := first.e.Resign(ctx); err != nil {
		t.Fatal(err)
	}
	if err := soon(t, "the campaign ends", results); !errors.Is(err, lock.ErrResigned) || errors.Is(err, lock.ErrLost) {
		t.Fatal(err)
	}
	second := soon(t, "the other leads", leads)
	after, ok, err := first.e.Leader(ctx)
	if err != nil || !ok || after.Term != second.held.Token() || after.Term <= before.Term || after.Holder == before.Holder {
		t.Fatalf("%+v after %+v, %v, %v", after, before, ok, err)
	}
	cancel()
	if err := soon(t, "the other campaign ends", results); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// TestDoWithoutFn: an answer that comes when the lease is over is not a lost lock: the caller never had it.
func TestDoWithoutFn(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	proxy := rig.NewProxy(t, server.Addr())
	l := newLocker(t, open(t, proxy.URL(), "app", patient), lock.Options{TTL: 100 * time.Millisecond})
	mustRelease(t, mustTry(t, l, "warm"))
	proxy.StallReplies()
	time.AfterFunc(300*time.Millisecond, proxy.Resume)
	ran := false
	err := l.Do(t.Context(), "n", func(context.Context, *lock.Lock) error { ran = true; return nil })
	if ran || errors.Is(err, lock.ErrLost) || !errors.Is(err, redstart.ErrUnavailable) {
		t.Fatalf("ran: %v, %v", ran, err)
	}
}

// TestErr is right at once, whatever ended the lock.
func TestErr(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	l := newLocker(t, open(t, server.URL(), "app", patient), lock.Options{TTL: time.Second})
	held := mustTry(t, l, "n")
	if held.Err() != nil {
		t.Fatal(held.Err())
	}
	mustRelease(t, held)
	if err := held.Err(); err == nil || errors.Is(err, lock.ErrLost) {
		t.Fatalf("after Release: %v", err)
	}
	late := held.Context() // asked for the first time
	if late.Err() == nil || context.Cause(late) != held.Err() || late != held.Context() {
		t.Fatalf("Context after Release: %v, %v", late.Err(), context.Cause(late))
	}
	held = mustTry(t, l, "n")
	server.CLI("FLUSHALL")
	soon(t, "the loss is noticed", held.Context().Done())
	if err := held.Err(); !errors.Is(err, lock.ErrLost) || !strings.Contains(err.Error(), "no longer knows us") {
		t.Fatalf("lost: %v", err)
	}
}

type spanKey struct{}

// spans is an observer whose spans are seen in contexts.
type spans struct{}

func (spans) Start(ctx context.Context, op observe.Operation) (context.Context, func(error)) {
	return context.WithValue(ctx, spanKey{}, op.Verb), func(error) {}
}

// TestContextIsNotOfTheEndedSpan: what the holder does is no part of the span of Acquire.
func TestContextIsNotOfTheEndedSpan(t *testing.T) {
	t.Parallel()
	l := newLocker(t, open(t, rig.Shared(t).URL(), rig.Prefix(t), patient, func(cfg *redstart.Config) { cfg.Observer = spans{} }), lock.Options{})
	ctx := context.WithValue(t.Context(), ctxKey{}, "value")
	for _, take := range []func(context.Context, string, ...lock.CallOption) (*lock.Lock, error){l.Acquire, l.TryAcquire} {
		held, err := take(ctx, "n")
		if err != nil {
			t.Fatal(err)
		}
		if held.Context().Value(spanKey{}) != nil || held.Context().Value(ctxKey{}) != "value" {
			t.Errorf("the span in Context is %v", held.Context().Value(spanKey{}))
		}
		mustRelease(t, held)
	}
}
