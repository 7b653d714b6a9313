package core_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/hub"
	"github.com/redstart-go/redstart/internal/keys"
	"github.com/redstart-go/redstart/internal/rig"
)

// keyOn returns a key in a slot of a primary.
func keyOn(c *rig.Cluster, s *rig.Server) string {
	for i := 0; ; i++ {
		if key := fmt.Sprintf("k:{%d}", i); c.Primary(key) == s {
			return key
		}
	}
}

// A node of a cluster stops. Calls to the other nodes work, and calls to the stopped one fail at
// once after the first. The control is that first call, which waits for the command timeout.
func TestClusterNodeDownLeavesTheOthersAlone(t *testing.T) {
	rig.Need(t, rig.TierAll)
	// the failover begins after the calls to the stopped node
	cl := rig.NewCluster(t, rig.NodeArgs("--cluster-node-timeout", "6000"))
	c := open(t, cl.URL(), timeout(2*time.Second))
	down, up := cl.Primaries()[0], cl.Primaries()[1]
	lost, kept := keyOn(cl, down), keyOn(cl, up)
	for _, key := range []string{lost, kept} {
		if err := get(t.Context(), c, key); err != nil {
			t.Fatal(err)
		}
	}
	down.Stop()
	defer down.Continue()
	watch := rig.Watch(t)
	if err := get(context.Background(), c, lost); !errors.Is(err, fault.ErrUnavailable) {
		t.Fatalf("a call to the stopped node gave %v", err)
	}
	control := watch.Took()
	watch = rig.Watch(t)
	if err := get(context.Background(), c, lost); !errors.Is(err, fault.ErrUnavailable) || watch.Took() > control/10 {
		t.Fatalf("behind its breaker a call took %v, without it %v, and gave %v", watch.Took(), control, err)
	}
	for range 100 {
		if err := get(context.Background(), c, kept); err != nil {
			t.Fatalf("a call to another node gave %v", err)
		}
	}
	rig.Eventually(t, 40*time.Second, "a replica took over",
		func() bool { return get(context.Background(), c, lost) == nil })
}

func TestClusterSlotMoveFailsNoCall(t *testing.T) {
	cl := rig.NewCluster(t, rig.NoReplicas())
	c := open(t, cl.URL())
	from, to := cl.Primaries()[0], cl.Primaries()[1]
	key := keyOn(cl, from)
	set := func(v string) {
		t.Helper()
		if _, err := c.Do(t.Context(), core.Write("SET", key, v)); err != nil {
			t.Fatal(err)
		}
	}
	want := func(v string) {
		t.Helper()
		msg, err := c.Do(t.Context(), core.Read("GET", key))
		if got, _ := msg.ToString(); err != nil || got != v {
			t.Fatalf("GET gave %q, %v; want %q", got, err, v)
		}
	}
	messages := make(chan string, 16)
	sub, err := c.Hub().Subscribe(t.Context(), key, hub.Receiver{
		Message:  func(p string) { messages <- p },
		Lost:     func() { messages <- "lost" },
		Restored: func() { messages <- "restored" },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	set("before")
	m := cl.MigrateSlot(int(keys.Slot(key)), from, to)
	want("before")
	m.Move(key)
	want("before") // ASK
	set("between")
	m.Finish()
	want("between") // MOVED
	set("after")
	for _, step := range []string{"lost", "restored"} {
		select {
		case got := <-messages:
			if got != step {
				t.Fatalf("the subscriber received %q, want %q", got, step)
			}
		case <-time.After(15 * time.Second):
			t.Fatalf("the subscriber did not receive %q", step)
		}
	}
	if err := c.Publish(t.Context(), key, "hello"); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-messages:
		if got != "hello" {
			t.Fatalf("the subscriber received %q", got)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the message did not arrive after the move")
	}
}

func TestSentinelFailover(t *testing.T) {
	s := rig.NewSentinel(t)
	c := open(t, s.URL())
	if _, err := c.Do(t.Context(), core.Write("SET", "k", "1")); err != nil {
		t.Fatal(err)
	}
	old := s.Primary()
	old.Kill()
	began := time.Now()
	rig.Eventually(t, 30*time.Second, "writes work again", func() bool {
		_, err := c.Do(context.Background(), core.Write("SET", "k", "2"))
		return err == nil
	})
	t.Logf("writes were refused for %v", time.Since(began))
}

func TestHubReportsALostConnection(t *testing.T) {
	s := rig.Standalone(t)
	c := open(t, s.URL())
	heard := make(chan string, 16)
	sub, err := c.Hub().Subscribe(t.Context(), "news", hub.Receiver{
		Message:  func(p string) { heard <- p },
		Lost:     func() { heard <- "lost" },
		Restored: func() { heard <- "restored" },
	})
	if err != nil {
		t.Fatal(err)
	}
	next := func(want string) {
		t.Helper()
		select {
		case got := <-heard:
			if got != want {
				t.Fatalf("received %q, want %q", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("did not receive %q", want)
		}
	}
	for range 3 {
		if err := c.Publish(t.Context(), "news", "hello"); err != nil {
			t.Fatal(err)
		}
		next("hello")
		s.CLI("CLIENT", "KILL", "TYPE", "pubsub")
		next("lost")
		next("restored")
	}
	sub.Close()
	rig.Eventually(t, 5*time.Second, "no receiver is subscribed",
		func() bool { return s.CLI("PUBSUB", "SHARDCHANNELS") == "" })
	select {
	case got := <-heard:
		t.Fatalf("received %q after Close", got)
	default:
	}
}

// recorder records pushes.
type recorder struct{ heard chan string }

func (r recorder) Invalidate(key string) { r.heard <- key }
func (r recorder) Flush()                { r.heard <- "flush" }

func TestHubTracksBySpace(t *testing.T) {
	for name, url := range map[string]string{"standalone": rig.Standalone(t).URL(), "cluster": rig.SharedCluster(t).URL()} {
		t.Run(name, func(t *testing.T) {
			c := open(t, url)
			mine, other := space(t, c, "mine"), space(t, c, "other")
			r := recorder{make(chan string, 16)}
			stop := c.Hub().Track(mine.Prefix(), r)
			for _, key := range []string{mine.Key("a"), other.Key("a")} {
				if _, err := c.DoTracked(t.Context(), core.Read("GET", key)); err != nil {
					t.Fatal(err)
				}
			}
			// on the main connection, so that each key is pushed
			for _, key := range []string{other.Key("a"), mine.Key("a")} {
				if _, err := c.Do(t.Context(), core.Write("SET", key, "x", "EX", "60")); err != nil {
					t.Fatal(err)
				}
			}
			for got := ""; got != mine.Key("a"); {
				select {
				case got = <-r.heard: // the first look at a cluster may close a connection: a flush
					if got != mine.Key("a") && got != "flush" {
						t.Fatalf("received %q", got)
					}
				case <-time.After(5 * time.Second):
					t.Fatal("no invalidation arrived")
				}
			}
			stop()
		})
	}
}

func TestHubFlushesWhenTheTrackingConnectionIsLost(t *testing.T) {
	s := rig.Standalone(t)
	c := open(t, s.URL())
	mine := space(t, c, "mine")
	r := recorder{make(chan string, 16)}
	defer c.Hub().Track(mine.Prefix(), r)()
	for _, loss := range []func(){
		func() { s.CLI("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") },
		func() { s.CLI("FLUSHALL") },
	} {
		rig.Eventually(t, 5*time.Second, "a tracked read", func() bool {
			_, err := c.DoTracked(t.Context(), core.Read("GET", mine.Key("a")))
			return err == nil
		})
		loss()
		select {
		case got := <-r.heard:
			if got != "flush" {
				t.Fatalf("received %q", got)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("no flush arrived")
		}
	}
}

func space(t *testing.T, c *core.Core, name string) keys.Space {
	t.Helper()
	s, err := c.Keys("test", name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
