package lock_test

import (
	"context"
	"errors"
	"fmt"
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

// TestK2_TokensIncrease: through releases, lapses, passing on, several names at once, a lost key, and a server that
// comes back empty.
func TestK2_TokensIncrease(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	client := open(t, server.URL(), "app")
	l := newLocker(t, client, lock.Options{TTL: 300 * time.Millisecond, Group: "g"})
	var last int64
	next := func(what string, held *lock.Lock) {
		t.Helper()
		if held.Token() <= last {
			t.Fatalf("%s: token %d after %d", what, held.Token(), last)
		}
		last = held.Token()
	}
	for range 50 {
		held := mustTry(t, l, "n")
		next("after a release", held)
		mustRelease(t, held)
	}
	all, err := l.All("n", "m")
	if err != nil {
		t.Fatal(err)
	}
	held, err := all.TryAcquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next("of two names", held)
	mustRelease(t, held)
	held = mustTry(t, l, "m")
	next("of the other name", held)
	mustRelease(t, held)

	mustTry(t, l, "n")
	server.CLI("FLUSHALL")
	held = mustTry(t, l, "n")
	next("after FLUSHALL", held)
	server.Restart()
	rig.Eventually(t, 10*time.Second, "the lock is to be had from the empty server", func() bool {
		held, err = l.TryAcquire(t.Context(), "n")
		return err == nil
	})
	next("from a restarted server", held)
}

// A clock that steps back does not repeat a token while the name is remembered.
func TestK2_ClockStepsBack(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	namespace := rig.Prefix(t)
	l := newLocker(t, open(t, server.URL(), namespace), lock.Options{})
	held := mustTry(t, l, "n")
	mustRelease(t, held)
	key := namespace + ":lock:{n}"
	ahead := held.Token() + time.Minute.Microseconds() // as if granted by a clock a minute ahead of the present one
	state := strings.Replace(server.CLI("GET", key), strconv.FormatInt(held.Token(), 10), strconv.FormatInt(ahead, 10), 1)
	server.CLI("SET", key, state, "KEEPTTL")
	if again := mustTry(t, l, "n"); again.Token() != ahead+1 {
		t.Fatalf("token %d after %d", again.Token(), ahead)
	}
}

// TestK3_ToldBeforeTheLeaseEnds: whatever stands between us and the server, Context has ended when the server
// would let another in.
func TestK3_ToldBeforeTheLeaseEnds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		fault func(s *rig.Server, p *rig.Proxy)
	}{
		{"silent network", func(_ *rig.Server, p *rig.Proxy) { p.Stall() }},
		{"replies lost", func(_ *rig.Server, p *rig.Proxy) { p.StallReplies() }},
		{"connection refused", func(_ *rig.Server, p *rig.Proxy) { p.Refuse(); p.Cut() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := rig.Standalone(t)
			proxy := rig.NewProxy(t, server.Addr())
			const ttl = time.Second
			ours := newLocker(t, open(t, proxy.URL(), "app"), lock.Options{TTL: ttl})
			theirs := newLocker(t, open(t, server.URL(), "app"), lock.Options{TTL: ttl, Wait: lock.WaitForever})
			held := mustTry(t, ours, "n")
			// Some renewals first: the lease must count from the last one.
			rig.Eventually(t, 5*time.Second, "two renewals", func() bool { return ours.Stats().Renewals >= 2 })
			tt.fault(server, proxy)
			told := make(chan time.Time, 1)
			context.AfterFunc(held.Context(), func() { told <- time.Now() })
			next := mustAcquire(t, theirs, "n")
			granted := time.Now()
			if !errors.Is(context.Cause(held.Context()), lock.ErrLost) {
				t.Fatalf("another has the lock, and Context's cause is %v", context.Cause(held.Context()))
			}
			at := soon(t, "the holder is told", told)
			t.Logf("told %v before the next grant", granted.Sub(at))
			if !at.Before(granted) {
				t.Fatalf("told %v after the next grant", at.Sub(granted))
			}
			if next.Token() <= held.Token() {
				t.Fatalf("token %d after %d", next.Token(), held.Token())
			}
			if err := held.Release(t.Context()); !errors.Is(err, lock.ErrLost) {
				t.Fatalf("Release of a lost lock: %v", err)
			}
			proxy.Resume()
			if err := proxy.Accept(); err != nil {
				t.Log(err) // it was not refusing
			}
		})
	}
}

// TestK3_TakenAway: a key that was deleted, flushed, or given to somebody else is noticed at the next renewal.
func TestK3_TakenAway(t *testing.T) {
	t.Parallel()
	for name, take := range map[string]func(server *rig.Server, key string){
		"deleted": func(server *rig.Server, key string) { server.CLI("DEL", key) },
		"flushed": func(server *rig.Server, key string) { server.CLI("FLUSHALL") },
		"stolen": func(server *rig.Server, key string) {
			fields := strings.Fields(server.CLI("GET", key))
			fields[5] = "m.thief.1"
			server.CLI("SET", key, strings.Join(fields, " "), "PX", "60000")
		},
		"another type": func(server *rig.Server, key string) {
			server.CLI("DEL", key)
			server.CLI("LPUSH", key, "x")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := rig.Standalone(t)
			l := newLocker(t, open(t, server.URL(), "app"), lock.Options{TTL: 3 * time.Second})
			err := l.Do(t.Context(), "n", func(ctx context.Context, held *lock.Lock) error {
				take(server, "app:lock:{n}")
				<-ctx.Done()
				return context.Cause(ctx)
			})
			// By a renewal, and not because the lease lapsed without one.
			if !errors.Is(err, lock.ErrLost) || !strings.Contains(err.Error(), "no longer knows us") {
				t.Fatalf("Do: %v", err)
			}
			rig.Eventually(t, 5*time.Second, "the loss is counted", func() bool { return l.Stats().Lost == 1 })
		})
	}
}

// TestK4_OnlyTheOwnerReleases: once, and not what another has by now.
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

// TestK4_CancelledReleaseFrees: the caller's context ends, the lock is freed all the same.
func TestK4_CancelledReleaseFrees(t *testing.T) {
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

// TestK4_LostAnswerOfRelease: the first answer is lost with its connection; the second request is told
// that the first has done it.
func TestK4_LostAnswerOfRelease(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	proxy := rig.NewProxy(t, server.Addr())
	l := newLocker(t, open(t, proxy.URL(), "app"), lock.Options{TTL: time.Minute})
	other := newLocker(t, open(t, server.URL(), "app"), lock.Options{})
	mustRelease(t, mustTry(t, l, "n")) // the server knows the scripts from here on
	held := mustTry(t, l, "n")
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

// TestK4_NoOrphan: acquires that ended without an answer hold nothing once the server goes on.
func TestK4_NoOrphan(t *testing.T) {
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
		name      string
		ours, his func(context.Context, ...lock.CallOption) (*lock.Lock, error)
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
			<-time.After(stopped) // a long stop opens the breaker, ends connections
			server.Continue()
			rig.Eventually(t, time.Second, tt.name+": another has it", func() bool {
				held, err := tt.his(t.Context())
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

// TestK4_AbandonedWait: who stops waiting is no longer in the queue, and passes on what came to it meanwhile.
func TestK4_AbandonedWait(t *testing.T) {
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
	rig.Eventually(t, 5*time.Second, "somebody waits", func() bool { return l.Stats().Waited > 0 })
	mustRelease(t, held)
	wg.Wait()
	rig.Eventually(t, time.Second, "the queue is empty", func() bool {
		return server.CLI("EXISTS", namespace+":lock:{n}:q", namespace+":lock:{n}:w") == "0"
	})
	mustRelease(t, mustTry(t, l, "n"))
}

// TestK5_CrashCostsOneTTL: a holder that was killed, and one whose successor in the queue was killed with it.
func TestK5_CrashCostsOneTTL(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	server := rig.Standalone(t)
	const ttl = time.Second
	l := newLocker(t, open(t, server.URL(), "app"), lock.Options{TTL: ttl, Wait: lock.WaitForever})
	env := map[string]string{"LOCK_URL": server.URL(), "LOCK_TTL": ttl.String(), "LOCK_NAME": "n", "LOCK_MODE": "hold"}
	holder := rig.Spawn(t, "contender", env)
	if line := holder.Line(10 * time.Second); !strings.HasPrefix(line, "held") {
		t.Fatal(line)
	}
	got := make(chan *lock.Lock, 1)
	go func() { got <- mustAcquire(t, l, "n") }()
	rig.Eventually(t, 5*time.Second, "we wait", func() bool { return l.Stats().Waiting == 1 })
	holder.Kill()
	watch := rig.Watch(t)
	held := soon(t, "the lock of a dead holder passes on", got)
	if took := watch.Took(); took > ttl+time.Second {
		t.Fatalf("the next grant came after %v, with a TTL of %v", took, ttl)
	} else {
		t.Logf("the next grant came after %v, with a TTL of %v", took, ttl)
	}

	// A dead waiter in front: it is skipped, or what is passed to it lapses.
	dead := rig.Spawn(t, "contender", env)
	rig.Eventually(t, 5*time.Second, "the other process waits", func() bool { return server.CLI("ZCARD", "app:lock:{n}:q") == "1" })
	go func() { got <- mustAcquire(t, l, "n") }()
	rig.Eventually(t, 5*time.Second, "we wait behind it", func() bool { return server.CLI("ZCARD", "app:lock:{n}:q") == "2" })
	dead.Kill()
	watch = rig.Watch(t)
	mustRelease(t, held)
	mustRelease(t, soon(t, "a dead waiter does not hold up the queue", got))
	if took := watch.Took(); took > 2*time.Second {
		t.Fatalf("a dead waiter cost %v", took)
	}
}

// TestK5_LostWakeUp: without any Pub/Sub message a waiter has the lock within the fallback poll.
func TestK5_LostWakeUp(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	// This user may not subscribe: no wake-up ever arrives.
	server.CLI("ACL", "SETUSER", "deaf", "on", ">deaf", "~*", "&*", "+@all", "-subscribe", "-ssubscribe", "-psubscribe")
	l := newLocker(t, open(t, server.URLAs("deaf", "deaf"), "app"), lock.Options{Wait: lock.WaitForever})
	other := newLocker(t, open(t, server.URL(), "app"), lock.Options{})
	for range rig.Soak(3, 30) {
		held := mustTry(t, other, "n")
		got := make(chan *lock.Lock, 1)
		go func() { got <- mustAcquire(t, l, "n") }()
		rig.Eventually(t, 5*time.Second, "one waits", func() bool { return server.CLI("ZCARD", "app:lock:{n}:q") == "1" })
		watch := rig.Watch(t)
		mustRelease(t, held)
		next := soon(t, "the waiter has the lock", got)
		if took := watch.Took(); took > time.Second {
			t.Fatalf("a lost wake-up cost %v", took)
		}
		mustRelease(t, next)
	}
}

// TestK6_OneWaiterWakes: a release publishes one message, to the first waiter alone, however many wait; and
// waiting costs no connections.
func TestK6_OneWaiterWakes(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	clients := make([]*lock.Locker, 4)
	for i := range clients {
		clients[i] = newLocker(t, open(t, server.URL(), "app", patient), lock.Options{Wait: lock.WaitForever})
	}
	held := mustTry(t, clients[0], "n")
	const waiters = 200
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	got := make(chan *lock.Lock, waiters)
	for i := range waiters {
		wg.Go(func() {
			lk, err := clients[i%len(clients)].Acquire(ctx, "n")
			if err == nil {
				got <- lk
			}
		})
	}
	rig.Eventually(t, 10*time.Second, "all wait", func() bool { return server.CLI("ZCARD", "app:lock:{n}:q") == strconv.Itoa(waiters) })
	rig.Eventually(t, 10*time.Second, "all processes listen", func() bool { return len(strings.Fields(server.CLI("PUBSUB", "SHARDCHANNELS", "*"))) == len(clients) })
	// Main and Pub/Sub connection of each client, and the one that asks.
	if n, err := strconv.Atoi(server.Info("connected_clients")); err != nil || n > 3*len(clients)+1 {
		t.Fatalf("%d connections for %d waiters of %d processes", n, waiters, len(clients))
	}
	for range 10 {
		before := server.CommandStats()["spublish"]
		mustRelease(t, held)
		held = soon(t, "the next is served", got)
		if n := server.CommandStats()["spublish"] - before; n != 1 {
			t.Fatalf("a release published %d messages", n)
		}
	}
	cancel()
	wg.Wait()
	mustRelease(t, held)
}

// TestK6_InACluster: wake-ups arrive on the lock's own slot, wherever that is.
func TestK6_InACluster(t *testing.T) {
	t.Parallel()
	cluster := rig.SharedCluster(t)
	namespace := rig.Prefix(t)
	a := newLocker(t, open(t, cluster.URL(), namespace, patient), lock.Options{})
	b := newLocker(t, open(t, cluster.URL(), namespace, patient), lock.Options{})
	woken := 0
	for i := range 30 {
		name := fmt.Sprint("n", i)
		held := mustTry(t, a, name)
		got := make(chan *lock.Lock, 1)
		go func() { got <- mustAcquire(t, b, name) }()
		rig.Eventually(t, 5*time.Second, "b listens", func() bool {
			return strings.Contains(cluster.Primary(namespace+":lock:{"+name+"}").CLI("PUBSUB", "SHARDCHANNELS", "*"+name+"}:wake*"), name)
		})
		began := time.Now()
		mustRelease(t, held)
		next := soon(t, "b has the lock", got)
		if time.Since(began) < 300*time.Millisecond {
			woken++
		}
		mustRelease(t, next)
	}
	if woken < 27 {
		t.Fatalf("%d of 30 waiters were woken in time, the others polled", woken)
	}
}

// TestA7_CloseHandsBack: Close ends what is held, frees it at once, and leaves no goroutine.
func TestA7_CloseHandsBack(t *testing.T) {
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

// TestManyLocks: goroutines and renewals of many held locks do not grow with their number.
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
	t.Logf("%d locks: %d renewals, %d scripts in %v; %d goroutines in this process", n, l.Stats().Renewals, server.CommandStats()["evalsha"]-calls, time.Since(began), before)
	for _, held := range locks {
		if held.Context().Err() != nil {
			t.Fatal("a lock was lost")
		}
	}
	if l.Stats().Lost != 0 || l.Stats().Held != n {
		t.Fatalf("%+v", l.Stats())
	}
}

// TestMaxHold: the cap ends the context; the lock is free for others soon after its holder has let go.
func TestMaxHold(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	namespace := rig.Prefix(t)
	l := newLocker(t, open(t, server.URL(), namespace, patient), lock.Options{TTL: 30 * time.Second, MaxHold: 200 * time.Millisecond})
	began := time.Now()
	err := l.Do(t.Context(), "n", func(ctx context.Context, held *lock.Lock) error {
		<-ctx.Done()
		return nil
	})
	if !errors.Is(err, lock.ErrLost) || !strings.Contains(err.Error(), "MaxHold") {
		t.Fatalf("Do past MaxHold: %v", err)
	}
	if took := time.Since(began); took < 200*time.Millisecond || took > 2*time.Second {
		t.Fatalf("MaxHold of 200 ms ended Do after %v", took)
	}
	rig.Eventually(t, 2*time.Second, "it is free again", func() bool {
		_, err := l.TryAcquire(t.Context(), "n")
		return err == nil
	})
}

// TestMinReplicas: granted with enough replicas, given back with too few.
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

// TestA4_EverythingExpires: after all kinds of use every key has a TTL.
func TestA4_EverythingExpires(t *testing.T) {
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

// TestA6_ScriptsSurvive: forgotten scripts are sent again, unseen.
func TestA6_ScriptsSurvive(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	l := newLocker(t, open(t, server.URL(), "app", patient), lock.Options{TTL: 600 * time.Millisecond})
	held := mustTry(t, l, "n")
	for range 5 {
		server.CLI("SCRIPT", "FLUSH")
		n := l.Stats().Renewals
		rig.Eventually(t, 5*time.Second, "renewed", func() bool { return l.Stats().Renewals > n })
	}
	server.CLI("SCRIPT", "FLUSH")
	mustRelease(t, held)
	if l.Stats().Lost != 0 {
		t.Fatal("lost")
	}
}

// TestA1_WaitersKeepTheirDeadline on a server that stops while they wait.
func TestA1_WaitersKeepTheirDeadline(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	l := newLocker(t, open(t, server.URL(), "app"), lock.Options{})
	mustTry(t, l, "n")
	const n = 32
	var onTime punctual
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			onTime.call(1500*time.Millisecond, func(ctx context.Context) {
				if _, err := l.Acquire(ctx, "n"); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Acquire: %v", err)
				}
			})
		})
	}
	rig.Eventually(t, 5*time.Second, "all have waited", func() bool { return l.Stats().Waited == n })
	server.Stop()
	wg.Wait()
	server.Continue()
	onTime.check(t)
}

// punctual compares how late calls return with how late the machine, loaded as it may be, wakes
// goroutines that wait for nothing but the same deadlines.
type punctual struct {
	mu             sync.Mutex
	calls, control time.Duration
}

func (p *punctual) call(d time.Duration, fn func(ctx context.Context)) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	due, _ := ctx.Deadline()
	note := func(worst *time.Duration) {
		late := time.Since(due)
		p.mu.Lock()
		defer p.mu.Unlock()
		*worst = max(*worst, late)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		<-ctx.Done()
		note(&p.control)
	})
	fn(ctx)
	note(&p.calls)
	wg.Wait()
}

func (p *punctual) check(t *testing.T) {
	t.Helper()
	t.Logf("at worst, calls returned %v after their deadlines, waiting goroutines %v", p.calls, p.control)
	if p.calls > p.control+20*time.Millisecond {
		t.Errorf("calls returned up to %v after their deadlines, waiting goroutines only %v", p.calls, p.control)
	}
}

// TestA2_Errors: what an engineer reads at night.
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
	if _, err := l.TryAcquire(t.Context(), "n"); !errors.Is(err, redstart.ErrUnavailable) && !errors.Is(err, redstart.ErrIndeterminate) {
		t.Errorf("a dead server: %v", err)
	}
}
