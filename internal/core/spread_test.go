package core_test

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
)

type doer func(context.Context, core.Command) (core.Reply, error)

// fewReaders makes 12 callers read at the same time, 500 times each.
func fewReaders(t *testing.T, do doer) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			for range 500 {
				if _, err := do(t.Context(), core.Read("GET", "k"+strconv.Itoa(i))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// spread makes few callers read until they use all the connections that they may use.
func spread(t *testing.T, c *core.Core) {
	t.Helper()
	before := core.Connections(c)
	rig.Eventually(t, 30*time.Second, "reads use several connections", func() bool {
		core.SpreadReads(c)
		fewReaders(t, c.Do)
		return core.Connections(c)-before >= core.SpreadLines && core.FreeLong(c) >= core.SpreadLines
	})
	if n := core.Connections(c) - before; n != core.SpreadLines {
		t.Errorf("12 callers opened %d connections, want %d", n, core.SpreadLines)
	}
	core.SpreadReads(c)
}

// late calls do with a deadline of 100 ms, and reports an error if it was not too late.
func late(t *testing.T, do doer, cmd core.Command, what string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := do(ctx, cmd); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%s: %v", what, err)
	}
}

// Reads of few callers use several connections. A command that blocks the shared connection does
// not delay them. The controls are a write, and a read after a write that its caller has left: they
// stay behind this command (A3).
func TestReadsOfFewCallersOvertakeNoAbandonedWrite(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	c := open(t, server.URL(), timeout(10*time.Second))
	spread(t, c)
	release := blockShared(t, server, c)
	for range 10 {
		if err := get(t.Context(), c, "k"); err != nil {
			t.Fatal(err)
		}
	}

	late(t, c.Do, core.Write("SET", "k", "v"), "a write overtook a command that was sent before it")
	late(t, c.Do, core.Read("GET", "k"), "a read overtook a write that was sent before it")
	release()
	// the replies to the abandoned calls arrive in order
	if reply, err := c.Do(t.Context(), core.WriteAt("", "GET", "k")); err != nil || reply.IsNil() {
		t.Errorf("the abandoned write was not executed first: %v", err)
	}
}

// With many calls in flight, reads share one connection. The control is the same read before the
// others.
func TestReadsOfManyCallersShareOneConnection(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	c := open(t, server.URL(), timeout(10*time.Second))
	spread(t, c)
	release := blockShared(t, server, c)
	if err := get(t.Context(), c, "k"); err != nil {
		t.Fatal(err)
	}

	sent := server.CommandStats()["incr"]
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			if _, err := c.Do(t.Context(), core.Write("INCR", "n")); err != nil {
				t.Error(err)
			}
		})
	}
	rig.Eventually(t, 5*time.Second, "the writes are in flight", func() bool { return core.InFlight(c) == 41 })
	late(t, c.Do, core.Read("GET", "k"), "a read did not share the connection of many calls")
	release()
	wg.Wait()
	if n := server.CommandStats()["incr"] - sent; n != 40 {
		t.Errorf("the server executed %d writes, want 40", n)
	}
}

// Tracked reads, and reads in a cluster, use one connection of each node.
func TestOnlyOrdinaryReadsOfOneServerUseSeveralConnections(t *testing.T) {
	t.Parallel()
	server := open(t, rig.Shared(t).URL(), timeout(10*time.Second))
	cluster := open(t, rig.SharedCluster(t).URL(), timeout(10*time.Second))
	for name, side := range map[string]struct {
		c  *core.Core
		do doer
	}{"tracked": {server, server.DoTracked}, "cluster": {cluster, cluster.Do}} {
		for i := range 64 { // connects to all nodes; one caller opens no further connection
			if _, err := side.do(t.Context(), core.Read("GET", "k"+strconv.Itoa(i))); err != nil {
				t.Fatal(err)
			}
		}
		before := core.Connections(side.c)
		for range 3 {
			core.SpreadReads(side.c)
			fewReaders(t, side.do)
		}
		if n := core.Connections(side.c); n != before {
			t.Errorf("%s: %d connections, were %d", name, n, before)
		}
	}
	spread(t, server) // the control
}

// A server that refuses further connections is not asked for one by each read. The reads use the
// shared connection.
func TestRefusedConnectionsForReadsAreNotTriedAgainAtOnce(t *testing.T) {
	t.Parallel()
	var refuse atomic.Bool
	var dials atomic.Int64
	c := open(t, rig.Shared(t).URL(), timeout(10*time.Second), func(o *core.Options) {
		o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if refuse.Load() {
				dials.Add(1)
				return nil, errors.New("refused")
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		}
	})
	refuse.Store(true)
	rig.Eventually(t, 30*time.Second, "a connection is refused", func() bool {
		core.SpreadReads(c)
		fewReaders(t, c.Do)
		return dials.Load() > 0
	})
	watch, refused := rig.Watch(t), dials.Load()
	const rounds = 60
	for range rounds {
		core.SpreadReads(c)
		fewReaders(t, c.Do)
	}
	// one attempt of each line at a time, and then a pause
	most := core.SpreadLines * (1 + int64(watch.Took()/core.BorrowPause))
	if n := dials.Load() - refused; n > most {
		t.Errorf("%d reads tried %d further connections, want at most %d", rounds*6000, n, most)
	}
}

// A trial finds the faster way, follows a change, and keeps the shared connection between equal
// ways. In each epoch, a small part of the reads tries the other way.
func TestTrialChoosesTheFasterWay(t *testing.T) {
	t.Parallel()
	const most, few = core.EpochReads * 9 / 10, core.EpochReads / 10
	var trial core.Trial
	for i, step := range []struct {
		shared, spread time.Duration
		several        bool
	}{
		{100 * time.Microsecond, 100 * time.Microsecond, false},
		{100 * time.Microsecond, 80 * time.Microsecond, true},
		{100 * time.Microsecond, 200 * time.Microsecond, false},
		{3 * time.Millisecond, 2 * time.Millisecond, true},
		{100 * time.Microsecond, 101 * time.Microsecond, true}, // too small a difference
		{100 * time.Microsecond, 120 * time.Microsecond, false},
	} {
		var n int
		for range 20 {
			n = trial.Epoch(step.shared, step.spread)
		}
		if step.several && n < most || !step.several && n > few {
			t.Errorf("step %d: %d of %d reads used several connections", i, n, core.EpochReads)
		}
		if n == 0 || n == core.EpochReads {
			t.Errorf("step %d: no read tried the other way", i)
		}
	}
}
