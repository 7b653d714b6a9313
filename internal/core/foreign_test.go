package core_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/rig"
)

// The network drops all packets without an error while the server runs. The client finds out and
// makes new connections, although new ones work only after the old ones are given up.
func TestHalfOpenConnectionsAreReplaced(t *testing.T) {
	rig.Need(t, rig.TierAll)
	for name, stall := range map[string]func(*rig.Proxy){"no requests arrive": (*rig.Proxy).StallRequests,
		"no replies arrive": (*rig.Proxy).StallReplies} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := rig.Standalone(t)
			p := rig.NewProxy(t, s.Addr())
			c := open(t, p.URL())
			r := recorder{make(chan string, 64)}
			mine := space(t, c, "mine")
			defer c.Hub().Track(mine.Prefix(), r)()
			sub, l := subscribe(t, c, mine.Key("news"))
			defer sub.Close()
			if _, err := c.DoTracked(t.Context(), core.Read("GET", mine.Key("a"))); err != nil {
				t.Fatal(err)
			}
			stall(p)
			watch := rig.Watch(t)
			l.next(t, "lost")
			for got := ""; got != "flush"; {
				select {
				case got = <-r.heard:
				case <-time.After(15 * time.Second):
					t.Fatal("no flush")
				}
			}
			took := watch.Took()
			t.Logf("the dead connections were found out after %v", took)
			if took > 6*time.Second {
				t.Errorf("the dead connections were found out after %v", took)
			}
			p.Cut() // the connections that were dialled in the meantime
			p.Resume()
			watch = rig.Watch(t)
			rig.Eventually(t, 10*time.Second, "calls work again", func() bool {
				_, err := c.DoTracked(context.Background(), core.Read("GET", mine.Key("a")))
				return err == nil && get(context.Background(), c, "k") == nil
			})
			l.next(t, "restored")
			if took := watch.Took(); took > 2*time.Second {
				t.Errorf("after the link came back everything worked again in %v", took)
			}
		})
	}
}

// Connections are reset during calls that increment a counter. No read fails for good, and no write
// is applied twice.
func TestA3_ResetsMidCommandApplyNothingTwice(t *testing.T) {
	s := rig.Standalone(t)
	p := rig.NewProxy(t, s.Addr())
	c := open(t, p.URL(), timeout(5*time.Second))
	var done, unknown, refused atomic.Int64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 32 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				_, err := c.Do(t.Context(), core.Write("INCR", "n"))
				switch {
				case err == nil:
					done.Add(1)
				case errors.Is(err, fault.ErrIndeterminate):
					unknown.Add(1)
				case errors.Is(err, fault.ErrUnavailable):
					refused.Add(1)
				default:
					t.Errorf("INCR gave %v", err)
				}
			}
		})
	}
	for range rig.Soak(15, 200) {
		before := done.Load()
		rig.Eventually(t, 10*time.Second, "calls work", func() bool { return done.Load() > before+200 })
		p.Reset()
	}
	close(stop)
	wg.Wait()
	var n int64
	if _, err := fmt.Sscan(s.CLI("GET", "n"), &n); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d answered, %d of unknown outcome, %d refused; the counter is %d", done.Load(), unknown.Load(),
		refused.Load(), n)
	if n < done.Load() || n > done.Load()+unknown.Load() {
		t.Errorf("the counter is %d, outside %d to %d", n, done.Load(), done.Load()+unknown.Load())
	}
	if unknown.Load() == 0 {
		t.Error("no reset hit a command")
	}
	if n := c.Nodes()[0]; n.Opened != 0 {
		t.Errorf("a lost connection, however many calls it takes along, opened the breaker %d times", n.Opened)
	}
}

func TestA1_StoppedNodeOfACluster(t *testing.T) {
	cl := rig.NewCluster(t, rig.NoReplicas(), rig.NodeArgs("--cluster-node-timeout", "60000"))
	c := open(t, cl.URL(), timeout(10*time.Second))
	down := cl.Primaries()[0]
	lost, kept := keyOn(cl, down), keyOn(cl, cl.Primaries()[1])
	for _, key := range []string{lost, kept} {
		if err := get(t.Context(), c, key); err != nil {
			t.Fatal(err)
		}
	}
	down.Stop()
	defer down.Continue()
	var p punctual
	var wg sync.WaitGroup
	for i := range 128 {
		wg.Go(func() {
			p.call(t.Context(), 100*time.Millisecond, func(ctx context.Context) {
				var err error
				switch i % 3 {
				case 0:
					err = get(ctx, c, lost)
				case 1:
					_, err = c.DoMulti(ctx, core.Read("GET", lost), core.Read("GET", kept))[0].Get()
				case 2:
					err = get(ctx, c, kept)
					if err != nil {
						t.Errorf("a node that runs gave %v", err)
					}
					return
				}
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("the stopped node gave %v", err)
				}
			})
		})
	}
	wg.Wait()
	p.check(t)
}

// A failover loses acknowledged writes. Callers then see the state of the new primary, and no
// error.
func TestFailoverWithAStalledReplicaLosesWritesNotCalls(t *testing.T) {
	primary := rig.Standalone(t)
	link := rig.NewProxy(t, primary.Addr())
	replica := rig.Replica(t, link.Addr())
	front := rig.NewProxy(t, replica.Addr())
	c := open(t, primary.URL())
	set := func(c *core.Core, v string) error {
		_, err := c.Do(t.Context(), core.Write("SET", "k", v, "EX", "60"))
		return err
	}
	if err := set(c, "1"); err != nil {
		t.Fatal(err)
	}
	rig.Eventually(t, 10*time.Second, "the replica has it", func() bool { return replica.CLI("GET", "k") == "1" })
	link.StallReplies()
	if err := set(c, "2"); err != nil { // acknowledged, and then lost
		t.Fatal(err)
	}
	primary.Kill()
	promoted := open(t, front.URL())
	if err := set(promoted, "3"); !errors.Is(err, fault.ErrUnavailable) || errors.Is(err, fault.ErrIndeterminate) {
		t.Fatalf("a replica took a write or left it open: %v", err)
	}
	replica.CLI("REPLICAOF", "NO", "ONE")
	msg, err := promoted.Do(t.Context(), core.Read("GET", "k"))
	if got, _ := msg.ToString(); err != nil || got != "1" {
		t.Fatalf("after the failover GET gave %q, %v", got, err)
	}
	if err := set(promoted, "4"); err != nil {
		t.Fatal(err)
	}
	for _, w := range promoted.Warnings() {
		if w.Code == "replica" {
			front.Cut() // the next connection finds a replica
		}
	}
	rig.Eventually(t, 10*time.Second, "the warning is gone", func() bool {
		_ = get(t.Context(), promoted, "k")
		for _, w := range promoted.Warnings() {
			if w.Code == "replica" {
				return false
			}
		}
		return true
	})
}
