package core_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/rig"
)

const longSize = 64 << 10

// long stores a long value and reads it. After that, the client knows that the reply is long.
func long(t *testing.T, c *core.Core, key string) {
	t.Helper()
	if _, err := c.Do(t.Context(), core.Write("SET", key, strings.Repeat("x", longSize))); err != nil {
		t.Fatal(err)
	}
	if err := get(t.Context(), c, key); err != nil {
		t.Fatal(err)
	}
}

// holdAll takes all connections for long replies.
func holdAll(t *testing.T, c *core.Core) (release []func()) {
	t.Helper()
	for range core.MaxLines {
		free, err := core.TakeLong(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		release = append(release, free)
	}
	return release
}

func releaseAll(release []func()) {
	for _, free := range release {
		free()
	}
}

// Many callers read long values. They share a bounded number of connections, which close when they
// are idle. The control is a client of short values, which has one connection.
func TestLongRepliesTakeABoundedNumberOfConnections(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	log := &journal{}
	c := open(t, server.URL(), timeout(time.Minute),
		func(o *core.Options) { o.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	if err := get(t.Context(), c, "short"); err != nil {
		t.Fatal(err)
	}
	control := core.Connections(c)
	long(t, c, "long")

	var wg sync.WaitGroup
	for range 128 {
		wg.Go(func() {
			for range 2 {
				reply, err := c.Do(t.Context(), core.Read("GET", "long"))
				if err != nil {
					t.Error(err)
				} else if text, err := reply.ToString(); err != nil || len(text) != longSize {
					t.Errorf("the reply has %d bytes, %v", len(text), err)
				}
			}
		})
	}
	wg.Wait()
	if n := core.Connections(c) - control; n != core.MaxLines {
		t.Errorf("128 callers opened %d connections for long replies, want %d", n, core.MaxLines)
	}

	core.CloseIdle(c)
	rig.Eventually(t, 10*time.Second, "idle connections are closed", func() bool { return core.Connections(c) == control })
	if err := get(t.Context(), c, "long"); err != nil {
		t.Errorf("after the idle connections were closed: %v", err)
	}
	if err := c.Close(); err != nil { // now all lines have arrived
		t.Fatal(err)
	}
	if n := log.count("connection lost"); n != 0 {
		t.Errorf("the log reports %d lost connections", n)
	}
}

// Other calls hold all connections for long replies. A call that waits for one ends with its
// context, is never sent, and gives up its place (A1).
func TestA1_ACallThatWaitsForAConnectionEndsWithItsContext(t *testing.T) {
	t.Parallel()
	const short, commandTimeout = 100 * time.Millisecond, 10 * time.Second
	server := rig.Standalone(t)
	c := open(t, server.URL(), timeout(commandTimeout))
	long(t, c, "long")
	sent := server.CommandStats()["get"]

	release := holdAll(t, c)
	var measured rounds
	for range 3 {
		p := measured.add()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				p.call(t.Context(), short, func(ctx context.Context) {
					err := get(ctx, c, "long")
					if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, fault.ErrIndeterminate) {
						t.Errorf("a call that waits for a connection: %v", err)
					}
				})
			})
		}
		wg.Wait()
	}
	measured.check(t)
	if n := server.CommandStats()["get"] - sent; n != 0 {
		t.Errorf("the server got %d reads of calls that had no connection", n)
	}

	releaseAll(release)
	var wg sync.WaitGroup
	for range 2 * core.MaxLines {
		wg.Go(func() {
			if err := get(t.Context(), c, "long"); err != nil {
				t.Errorf("after the connections were released: %v", err)
			}
		})
	}
	wg.Wait()
}

// A call without a deadline waits for a connection until the command timeout. The control is a
// goroutine that waits as long (A1).
func TestA1_ACallThatWaitsForAConnectionEndsWithTheCommandTimeout(t *testing.T) {
	t.Parallel()
	const commandTimeout = 200 * time.Millisecond
	c := open(t, rig.Shared(t).URL(), timeout(commandTimeout))
	key := rig.Prefix(t) + ":long"
	long(t, c, key)
	defer releaseAll(holdAll(t, c))

	var measured rounds
	for range 3 {
		measured.add().call(t.Context(), commandTimeout, func(context.Context) {
			if err := get(t.Context(), c, key); !errors.Is(err, fault.ErrUnavailable) {
				t.Errorf("a call that waits for a connection: %v", err)
			}
		})
	}
	measured.check(t)
}

// Calls that wait for a connection get it in the order in which they began to wait.
func TestCallsWaitForAConnectionInOrder(t *testing.T) {
	t.Parallel()
	c := open(t, rig.Shared(t).URL(), timeout(time.Minute))
	key := rig.Prefix(t) + ":long"
	long(t, c, key)
	release := holdAll(t, c)
	defer releaseAll(release[1:])

	const calls = 20
	order := make(chan int, calls)
	var wg sync.WaitGroup
	for i := range calls {
		wg.Go(func() {
			free, err := core.TakeLong(t.Context(), c)
			if err != nil {
				t.Error(err)
				return
			}
			order <- i
			free()
		})
		rig.Eventually(t, 10*time.Second, "the call waits", func() bool { return core.WaitingForLong(c) == i+1 })
	}
	release[0]()
	wg.Wait()
	for want := range calls {
		if got := <-order; got != want {
			t.Fatalf("call %d got a connection, want call %d", got, want)
		}
	}
}

// A server answers steadily, but more slowly than callers ask for long replies. Calls that wait for
// a connection for most of their time do not open the breaker.
func TestWaitingForAConnectionOpensNoBreaker(t *testing.T) {
	t.Parallel()
	proxy := rig.NewProxy(t, rig.Standalone(t).Addr())
	c := open(t, proxy.URL(), timeout(1500*time.Millisecond))
	long(t, c, "long")
	proxy.Delay(300 * time.Millisecond)

	var late, answered atomic.Int64
	var wg sync.WaitGroup
	for range 15 * core.MaxLines {
		wg.Go(func() {
			for range 3 {
				if err := get(t.Context(), c, "long"); err != nil {
					late.Add(1)
				} else {
					answered.Add(1)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d calls were answered, %d were late", answered.Load(), late.Load())
	if late.Load() == 0 || answered.Load() == 0 {
		t.Error("the server was not slower than the calls")
	}
	if n := c.Nodes()[0].Opened; n != 0 {
		t.Errorf("the breaker opened %d times", n)
	}
}

// A node answers one connection, but the callers there have left before their replies arrive. The
// call on the other connection gets no reply. This node is not silent, so the breaker stays closed.
func TestRepliesToCallersThatHaveLeftKeepTheBreakerClosed(t *testing.T) {
	t.Parallel()
	proxy := rig.NewProxy(t, rig.Standalone(t).Addr())
	c := open(t, proxy.URL(), timeout(1500*time.Millisecond))
	if _, err := c.DoTracked(t.Context(), core.Read("GET", "k")); err != nil {
		t.Fatal(err)
	}
	proxy.Delay(300 * time.Millisecond)

	unanswered := make(chan error)
	go func() {
		_, err := c.Do(context.Background(), core.Write("BLPOP", "empty", "0"))
		unanswered <- err
	}()
	for left := 0; ; left++ {
		select {
		case err := <-unanswered:
			if !errors.Is(err, fault.ErrIndeterminate) || left == 0 {
				t.Fatalf("after %d calls whose callers left: %v", left, err)
			}
			if n := c.Nodes()[0].Opened; n != 0 {
				t.Errorf("the breaker opened %d times", n)
			}
			return
		default:
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		_, _ = c.DoTracked(ctx, core.Read("GET", "k"))
		cancel()
	}
}

// Pipelines read long values from all nodes of a cluster, in different orders. No pipeline holds a
// connection to one node while it waits for a connection to another.
func TestPipelinesOfLongRepliesDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	cluster := rig.SharedCluster(t)
	c := open(t, cluster.URL(), timeout(15*time.Second)) // ends pipelines that wait for each other
	prefix := rig.Prefix(t)
	const keys = 12 // spread over all nodes
	for i := range keys {
		long(t, c, fmt.Sprintf("%s:%d", prefix, i))
	}
	var wg sync.WaitGroup
	for caller := range 24 {
		wg.Go(func() {
			for round := range 2 {
				var cmds []core.Command
				for i := range keys {
					i = (i*(1+2*(caller%2)) + caller + round) % keys
					cmds = append(cmds, core.Read("GET", fmt.Sprintf("%s:%d", prefix, i)))
				}
				for _, r := range c.DoMulti(t.Context(), cmds...) {
					if _, err := r.Get(); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}
