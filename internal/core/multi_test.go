package core_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/keys"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/script"
)

func TestA1_PipelineOverSeveralNodesLosesOnlyTheDeadOnes(t *testing.T) {
	cl := rig.NewCluster(t, rig.NoReplicas(), rig.NodeArgs("--cluster-require-full-coverage", "no",
		"--cluster-node-timeout", "60000"))
	c := open(t, cl.URL(), timeout(300*time.Millisecond))
	down, up := cl.Primaries()[0], cl.Primaries()[1]
	lost, kept := keyOn(cl, down), keyOn(cl, up)
	echo := script.New("return ARGV[1]")
	pipeline := func() []core.Result {
		var cmds []core.Command
		for i := range 10 {
			key := kept
			if i%2 == 0 {
				key = lost
			}
			cmds = append(cmds, core.Write("SET", key, fmt.Sprint(i), "EX", "60"))
		}
		return append(c.DoMulti(context.Background(), cmds...), c.EvalMulti(context.Background(), echo, []core.Call{
			{Keys: []string{lost}, Args: []string{"a"}}, {Keys: []string{kept}, Args: []string{"b"}},
		})...)
	}
	for i, r := range pipeline() {
		if _, err := r.Get(); err != nil {
			t.Fatalf("command %d: %v", i, err)
		}
	}
	down.Stop()
	defer down.Continue()
	for round := range 3 {
		watch := rig.Watch(t)
		for i, r := range pipeline() {
			_, err := r.Get()
			switch want := fault.ErrUnavailable; {
			case i%2 == 1 && err != nil:
				t.Errorf("round %d: command %d, on a node that runs: %v", round, i, err)
			case i%2 == 0 && round == 0 && i < 10 && !errors.Is(err, fault.ErrIndeterminate):
				t.Errorf("command %d, sent to the stopped node: %v", i, err)
			case i%2 == 0 && round > 0 && !errors.Is(err, want):
				t.Errorf("command %d, behind the breaker: %v", i, err)
			}
		}
		if took := watch.Took(); round > 0 && took > 100*time.Millisecond {
			t.Errorf("behind the breaker a pipeline took %v", took)
		}
	}
}

func TestClusterCommandsWithoutAKeyAvoidTheDead(t *testing.T) {
	cl := rig.NewCluster(t, rig.NodeArgs("--cluster-require-full-coverage", "no", "--cluster-node-timeout", "60000"))
	c := open(t, cl.URL(), timeout(300*time.Millisecond))
	cl.Replicas(cl.Primaries()[1])[0].Kill()
	down := cl.Primaries()[0]
	lost := keyOn(cl, down)
	down.Kill()
	rig.Eventually(t, 10*time.Second, "the breaker opens", func() bool {
		_ = get(context.Background(), c, lost)
		for _, n := range c.Nodes() {
			if n.Addr == down.Addr() {
				return n.Breaker != core.BreakerClosed
			}
		}
		return false
	})
	for range 100 {
		if _, err := c.Do(context.Background(), core.ReadAt("", "PING")); err != nil {
			t.Fatalf("PING: %v", err)
		}
	}
	mixed := c.DoMulti(context.Background(), core.ReadAt("", "PING"), core.Read("GET", keyOn(cl, cl.Primaries()[1])))
	for i, r := range mixed {
		if _, err := r.Get(); err != nil {
			t.Errorf("command %d of a pipeline with and without keys: %v", i, err)
		}
	}
}

func TestClusterSlotMovesThereAndBackUnseen(t *testing.T) {
	cl := rig.NewCluster(t, rig.NoReplicas())
	c := open(t, cl.URL())
	from, to := cl.Primaries()[0], cl.Primaries()[1]
	key := keyOn(cl, from)
	slot := keys.Slot(key)
	check := func(what string) {
		t.Helper()
		for i := range 20 {
			if _, err := c.Do(t.Context(), core.Write("SET", key, "x", "EX", "60")); err != nil {
				t.Fatalf("%s: SET %d: %v", what, i, err)
			}
			for j, r := range c.DoMulti(t.Context(), core.Read("GET", key), core.Read("GET", key)) {
				if msg, err := r.Get(); err != nil || msg.IsNil() {
					t.Fatalf("%s: GET %d of a pipeline: %v", what, j, err)
				}
			}
		}
	}
	check("before")
	for round := range 2 {
		m := cl.MigrateSlot(int(slot), from, to)
		m.Move(key)
		check("while it moves")
		m.Finish()
		core.RefreshTopology(c)
		rig.Eventually(t, 10*time.Second, "the move is known", func() bool { a, _ := c.Owner(slot); return a == to.Addr() })
		check(fmt.Sprintf("after move %d", round))
		from, to = to, from // and back, while calls still go to the former node
	}
}

// A lost read is sent again, but not after the deadline of its call.
func TestA1_ASecondTryKeepsTheDeadline(t *testing.T) {
	s := rig.Standalone(t)
	p := rig.NewProxy(t, s.Addr())
	const limit = 600 * time.Millisecond
	c := open(t, p.URL(), timeout(limit))
	rig.Eventually(t, 5*time.Second, "a connection", func() bool { return get(t.Context(), c, "k") == nil })
	for name, call := range map[string]func() error{
		"Do": func() error { return get(context.Background(), c, "k") },
		"DoMulti": func() error {
			_, err := c.DoMulti(context.Background(), core.Read("GET", "k"))[0].Get()
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			p.StallReplies()
			cut := time.AfterFunc(limit*3/4, p.Reset)
			defer cut.Stop()
			var punctual punctual
			punctual.call(t.Context(), limit, func(context.Context) {
				if err := call(); !errors.Is(err, fault.ErrUnavailable) {
					t.Errorf("a read that was never answered gave %v", err)
				}
			})
			punctual.check(t)
			p.Resume()
			rig.Eventually(t, 10*time.Second, "calls work again", func() bool { return get(t.Context(), c, "k") == nil })
		})
	}
}
