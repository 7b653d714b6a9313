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

// long stores a long value and reads it, so that the client knows that its reply is long.
func long(t *testing.T, c *core.Core, key string) {
	t.Helper()
	if _, err := c.Do(t.Context(), core.Write("SET", key, strings.Repeat("x", longSize))); err != nil {
		t.Fatal(err)
	}
	if err := get(t.Context(), c, key); err != nil {
		t.Fatal(err)
	}
}

// Many callers read long values: they share a bounded number of connections, which are closed when they are idle. The control
// is a client of short values, which has one connection.
func TestLongRepliesTakeABoundedNumberOfConnections(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	log := &journal{}
	c := open(t, server.URL(), timeout(time.Minute), func(o *core.Options) { o.Logger = slog.New(slog.NewTextHandler(log, nil)) })
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
	if err := c.Close(); err != nil { // after it all lines are there
		t.Fatal(err)
	}
	if n := log.count("connection lost"); n != 0 {
		t.Errorf("the log reports %d lost connections", n)
	}
}

// All connections for long replies wait for the server. A call that waits for one of them ends with its context, and is
// never sent.
func TestA1_ACallThatWaitsForAConnectionEndsWithItsContext(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	c := open(t, server.URL(), timeout(10*time.Second))
	long(t, c, "long")
	sent := server.CommandStats()["get"]

	server.Stop()
	stay, leave := context.WithTimeout(t.Context(), 2*time.Second)
	defer leave()
	var holders sync.WaitGroup
	for range core.MaxLines {
		holders.Go(func() { _ = get(stay, c, "long") }) // the connections are theirs
	}
	var measured rounds
	for range 3 {
		p := measured.add()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				p.call(t.Context(), 100*time.Millisecond, func(ctx context.Context) {
					err := get(ctx, c, "long")
					if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, fault.ErrIndeterminate) {
						t.Errorf("a call that waits for a connection: %v", err)
					}
				})
			})
		}
		wg.Wait()
	}
	holders.Wait()
	server.Continue()
	measured.check(t)
	if err := get(t.Context(), c, "long"); err != nil {
		t.Fatal(err)
	}
	if n := server.CommandStats()["get"] - sent; n > 3*core.MaxLines {
		t.Errorf("the server got %d reads, want at most those of the calls that had a connection", n)
	}
}

// A server answers steadily, and slower than long replies are requested: calls that waited for a connection for most of their
// time do not open the breaker.
func TestWaitingForAConnectionOpensNoBreaker(t *testing.T) {
	t.Parallel()
	proxy := rig.NewProxy(t, rig.Standalone(t).Addr())
	c := open(t, proxy.URL(), timeout(500*time.Millisecond))
	long(t, c, "long")
	proxy.Delay(100 * time.Millisecond)

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

// Pipelines read long values from all nodes of a cluster, in different orders: none of them keeps a connection of one node
// while it waits for one of another.
func TestPipelinesOfLongRepliesDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	cluster := rig.SharedCluster(t)
	c := open(t, cluster.URL(), timeout(time.Minute))
	prefix := rig.Prefix(t)
	const keys = 12 // on all nodes
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
