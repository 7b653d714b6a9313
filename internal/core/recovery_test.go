package core_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/hub"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/script"
)

// gap returns how long writes fail after a fault.
func gap(t *testing.T, c *core.Core, key string) time.Duration {
	t.Helper()
	began := time.Now()
	rig.Eventually(t, 40*time.Second, "writes work again", func() bool {
		_, err := c.Do(context.Background(), core.Write("SET", key, "x", "EX", "60"))
		return err == nil
	})
	return time.Since(began)
}

// available returns how long it took until write succeeds on a plain connection.
func available(t *testing.T, write func() bool) <-chan time.Duration {
	t.Helper()
	done := make(chan time.Duration, 1)
	began := time.Now()
	go func() {
		for !write() {
			if time.Since(began) > 40*time.Second {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		done <- time.Since(began)
	}()
	return done
}

// added is the time that Redstart may add to the recovery of the servers.
const added = time.Second

func compare(t *testing.T, what string, ours, servers time.Duration) {
	t.Helper()
	t.Logf("%s: the servers refused writes for %v, Redstart for %v", what, servers.Round(time.Millisecond),
		ours.Round(time.Millisecond))
	if ours > servers+added {
		t.Errorf("%s: Redstart added %v", what, ours-servers)
	}
}

func TestRecoveryAfterRestart(t *testing.T) {
	s := rig.Standalone(t)
	c := open(t, s.URL())
	gap(t, c, "k")
	s.Kill()
	if _, err := c.Do(t.Context(), core.ReadAt("", "PING")); err == nil {
		t.Fatal("a killed server answered")
	}
	for range 10 { // so that the breaker opens
		_ = get(t.Context(), c, "k")
	}
	s.Restart()
	compare(t, "restart", gap(t, c, "k"), 0)
}

func TestRecoveryAfterStop(t *testing.T) {
	rig.Need(t, rig.TierAll)
	s := rig.Standalone(t)
	c := open(t, s.URL())
	gap(t, c, "k")
	s.Stop()
	rig.Eventually(t, 10*time.Second, "the breaker opens", func() bool {
		_ = get(context.Background(), c, "k")
		return c.Nodes()[0].Breaker != core.BreakerClosed
	})
	s.Continue()
	compare(t, "stop and continue", gap(t, c, "k"), 0)
}

func TestRecoveryAfterSentinelFailover(t *testing.T) {
	set := rig.NewSentinel(t)
	c := open(t, set.URL())
	gap(t, c, "k")
	old := set.Primary()
	old.Kill()
	takesWrites := func(s *rig.Server) bool {
		reply, err := s.Do("SET", "probe", "x", "EX", "60")
		return s != old && err == nil && reply == "OK"
	}
	promoted := available(t, func() bool { return slices.ContainsFunc(set.Servers(), takesWrites) })
	// a client learns the primary from a sentinel within a second
	servers := available(t, func() bool {
		for _, sentinel := range set.Sentinels() {
			reply, err := sentinel.Do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")
			if parts, ok := reply.([]any); err != nil || !ok || len(parts) != 2 {
				continue
			} else if addr := fmt.Sprintf("%v:%v", parts[0], parts[1]); addr != old.Addr() {
				return slices.ContainsFunc(set.Servers(),
					func(s *rig.Server) bool { return s.Addr() == addr && takesWrites(s) })
			}
		}
		return false
	})
	ours := gap(t, c, "k")
	t.Logf("a replica was promoted after %v", (<-promoted).Round(time.Millisecond))
	compare(t, "sentinel failover", ours, <-servers)
}

func TestRecoveryAfterClusterFailover(t *testing.T) {
	rig.Need(t, rig.TierAll)
	cl := rig.NewCluster(t)
	c := open(t, cl.URL())
	old := cl.Primaries()[0]
	key := keyOn(cl, old)
	gap(t, c, key)
	replicas := cl.Replicas(old)
	old.Kill()
	servers := available(t, func() bool {
		for _, s := range replicas {
			if reply, err := s.Do("SET", key, "x", "EX", "60"); err == nil && reply == "OK" {
				return true
			}
		}
		return false
	})
	ours := gap(t, c, key)
	compare(t, "cluster failover", ours, <-servers)
}

func TestHubKeepsOneConnectionPerNode(t *testing.T) {
	s := rig.Standalone(t)
	c := open(t, s.URL())
	sp := space(t, c, "many")
	for i := range 2_000 {
		if _, err := c.Hub().Subscribe(t.Context(), sp.Key(fmt.Sprint(i)), hub.Receiver{}); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for _, line := range strings.Split(s.CLI("CLIENT", "LIST", "TYPE", "pubsub"), "\n") {
		if line != "" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("2,000 channels take %d connections", n)
	}
}

// A node that has just become a replica may refuse a write before it redirects it. In a cluster the
// call goes to the new primary. Without a cluster no other server is known, so the caller gets the
// error. The script refuses as such a node does.
func TestReadonlyNodeOfAClusterIsRetriedInTheCall(t *testing.T) {
	t.Parallel()
	const refused = 3
	refuse := script.New("if redis.call('INCR', KEYS[1]) <= tonumber(ARGV[1]) then " +
		"return redis.error_reply(\"READONLY You can't write against a read only replica.\") end return 'done'")
	cluster, single := open(t, rig.SharedCluster(t).URL()), open(t, rig.Shared(t).URL())
	ctx, key, args := t.Context(), rig.Prefix(t)+":n", []string{strconv.Itoa(refused)}

	if reply, err := cluster.Eval(ctx, refuse, []string{key}, args); err != nil || mustText(t, reply) != "done" {
		t.Errorf("one call: %v, %v", reply, err)
	}
	var calls []core.Call
	for i := range 300 { // the pauses of all calls in a row would exceed the command timeout
		calls = append(calls, core.Call{Keys: []string{fmt.Sprint(key, i)}, Args: args})
	}
	for _, r := range cluster.EvalMulti(ctx, refuse, calls) {
		if reply, err := r.Get(); err != nil || mustText(t, reply) != "done" {
			t.Errorf("in a pipeline: %v, %v", reply, err)
		}
	}
	if _, err := single.Eval(ctx, refuse, []string{key}, args); !errors.Is(err, fault.ErrUnavailable) {
		t.Errorf("standalone: %v, want ErrUnavailable", err)
	}
	if reply, err := single.Do(ctx, core.Read("GET", key)); err != nil || mustText(t, reply) != "1" {
		t.Errorf("standalone: the script ran %v times, %v, want once", reply, err)
	}

	// The context ends in a pause, with few exceptions: on a busy machine it may end during a try.
	for tries := 1; ; tries++ {
		impatient, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		_, err := cluster.Eval(impatient, refuse, []string{key + ":"}, []string{"1000000"})
		cancel()
		if errors.Is(err, fault.ErrUnavailable) && errors.Is(err, context.DeadlineExceeded) {
			return
		}
		if tries == 20 || !errors.Is(err, fault.ErrIndeterminate) {
			t.Fatalf("a node that goes on refusing: %v, want ErrUnavailable and the context's error", err)
		}
	}
}

func mustText(t *testing.T, reply core.Reply) string {
	t.Helper()
	text, err := reply.ToString()
	if err != nil {
		t.Fatal(err)
	}
	return text
}
