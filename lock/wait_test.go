package lock_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

// TestK5_CrashCostsOneTTL: a holder is killed, and so is a holder whose successor in the queue is
// killed too.
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

	// A dead waiter is first: it is skipped, or what is handed to it ends.
	dead := rig.Spawn(t, "contender", env)
	rig.Eventually(t, 5*time.Second, "the other process waits",
		func() bool { return server.CLI("ZCARD", "app:lock:{n}:q") == "1" })
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

// TestK5_WaiterWithoutMessages: without any Pub/Sub message, a waiter gets the lock within the
// interval of the heartbeats.
func TestK5_WaiterWithoutMessages(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	// This user may not subscribe, so no message arrives.
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

// TestK6_OneWaiterIsNotified: a release publishes one message, to the first waiter alone, for any
// number of waiters. Waiting needs no connections.
func TestK6_OneWaiterIsNotified(t *testing.T) {
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
	rig.Eventually(t, 10*time.Second, "all wait", func() bool {
		return server.CLI("ZCARD",
			"app:lock:{n}:q") == strconv.Itoa(waiters)
	})
	rig.Eventually(t, 10*time.Second, "all processes listen",
		func() bool { return len(strings.Fields(server.CLI("PUBSUB", "SHARDCHANNELS", "*"))) == len(clients) })
	// Each client has a main and a Pub/Sub connection; one more connection asks.
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

// TestK6_InACluster: messages arrive in the lock's own slot, on any node.
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
			return strings.Contains(cluster.Primary(namespace+":lock:{"+name+"}").CLI("PUBSUB",
				"SHARDCHANNELS", "*"+name+"}:wake*"), name)
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

// TestA1_WaitersKeepTheirDeadline: a server stops while they wait. A loaded machine may stop one
// thread for longer than the tolerance, so one of three attempts must be in time. A waiter that
// waits for the server is late in each attempt.
func TestA1_WaitersKeepTheirDeadline(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	l := newLocker(t, open(t, server.URL(), "app", patient), lock.Options{})
	mustTry(t, l, "n")
	const n = 32
	attempt := func() (onTime *punctual, waited bool) {
		onTime = &punctual{}
		before := l.Stats().Waited
		var returned atomic.Int64
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() {
				onTime.call(1500*time.Millisecond, func(ctx context.Context) {
					if _, err := l.Acquire(ctx, "n"); !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("Acquire: %v", err)
					}
				})
				returned.Add(1)
			})
		}
		rig.Eventually(t, time.Minute, "all have waited", func() bool {
			waited = l.Stats().Waited-before == n
			return waited || returned.Load() == n
		})
		server.Stop()
		wg.Wait()
		server.Continue()
		return onTime, waited
	}

	for range 3 {
		onTime, waited := attempt()
		if waited && onTime.kept() {
			return
		}
		t.Logf("all have waited: %v; at worst, calls returned %v after their deadlines, waiting goroutines %v",
			waited, onTime.calls, onTime.control)
	}
	t.Error("no attempt was in time")
}

// punctual compares how late calls return with how late the loaded machine wakes goroutines that
// only wait for the same deadlines.
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

func (p *punctual) kept() bool { return p.calls <= p.control+20*time.Millisecond }

func (p *punctual) check(t *testing.T) {
	t.Helper()
	t.Logf("at worst, calls returned %v after their deadlines, waiting goroutines %v", p.calls, p.control)
	if !p.kept() {
		t.Errorf("calls returned up to %v after their deadlines, waiting goroutines only %v", p.calls, p.control)
	}
}
