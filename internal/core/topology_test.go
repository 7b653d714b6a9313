package core_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
)

// lazyCluster returns a Core that knows no node yet and dials none.
func lazyCluster(t *testing.T) *core.Core {
	t.Helper()
	return open(t, "redis+cluster://127.0.0.1:1/", func(o *core.Options) { o.Lazy = true })
}

// Redirections add nodes while two refreshes of the topology adopt their answers.
func TestTopologyIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	c := lazyCluster(t)
	const rounds = 300
	var wg sync.WaitGroup
	for g := range 2 {
		wg.Go(func() {
			for i := range rounds {
				core.AskTopology(c)(fmt.Sprintf("127.0.0.%d:%d", g+1, 1+i%7), "127.0.0.9:1")
			}
		})
		wg.Go(func() {
			for i := range rounds {
				core.NodeAt(c, fmt.Sprintf("127.0.1.%d:%d", g+1, 1+i))
			}
		})
	}
	wg.Wait()
}

// Two refreshes overlap, and the answer to the earlier question arrives last. It is older, so it is
// not adopted.
func TestTopologyKeepsTheLatestAnswer(t *testing.T) {
	t.Parallel()
	c := lazyCluster(t)
	earlier, later := core.AskTopology(c), core.AskTopology(c)
	later("127.0.0.2:1")
	earlier("127.0.0.3:1")
	if addr, _ := c.Owner(0); addr != "127.0.0.2:1" {
		t.Errorf("the owner of slot 0 is %s, want the one of the later question", addr)
	}
}

// A node loses its slots and gets them back before its connections are closed, as in two failovers
// in a row.
func TestNodeThatReturnsKeepsItsConnections(t *testing.T) {
	t.Parallel()
	addr := rig.Shared(t).Addr()
	c := lazyCluster(t)
	core.AskTopology(c)(addr)
	if err := core.ConnectTo(t.Context(), c, addr); err != nil {
		t.Fatal(err)
	}
	before := core.ConnectionTo(c, addr)
	core.AskTopology(c)("127.0.0.2:1")
	core.AskTopology(c)(addr)
	core.AskTopology(c)(addr)
	if after := core.ConnectionTo(c, addr); before == nil || after != before {
		t.Errorf("the connection was %p, and is %p after the node returned", before, after)
	}
}

// A node loses its slots and is closed after a call has taken its connection, and before the call
// is sent. The call goes to the new owner. After Close it fails.
func TestCallOfARetiredNodeIsSentAgain(t *testing.T) {
	t.Parallel()
	addr := rig.Shared(t).Addr()
	c := lazyCluster(t)
	core.AskTopology(c)(addr)
	if err := core.ConnectTo(t.Context(), c, addr); err != nil {
		t.Fatal(err)
	}
	again, err := core.SendAfter(t.Context(), c, addr, func() {
		core.AskTopology(c)("127.0.0.2:1")
		core.AskTopology(c)("127.0.0.2:1")
	})
	if err == nil || !again {
		t.Errorf("a call of a retired node failed with %v, and is sent again: %v", err, again)
	}

	core.AskTopology(c)(addr)
	if err := core.ConnectTo(t.Context(), c, addr); err != nil {
		t.Fatal(err)
	}
	again, err = core.SendAfter(t.Context(), c, addr, func() { _ = c.Close() })
	if err == nil || again {
		t.Errorf("a call after Close failed with %v, and is sent again: %v", err, again)
	}
}
