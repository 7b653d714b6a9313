package core

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/internal/fault"
)

// BreakerState is the state of the circuit breaker of a node.
type BreakerState int32

const (
	BreakerClosed   BreakerState = iota // calls are sent
	BreakerOpen                         // calls fail at once
	BreakerHalfOpen                     // calls fail at once while one probe asks the node
)

func (s BreakerState) String() string {
	return [...]string{"closed", "open", "half-open"}[s]
}

// node is one server, with its connections and its circuit breaker.
type node struct {
	// its name in metrics and errors; with Sentinel, the addresses of the sentinels
	addr      string
	lines     [large]line            // by kind
	pools     [large]pool            // for long replies: ordinary and tracked
	primary   atomic.Pointer[string] // with Sentinel: the address of the primary
	refusal   atomic.Pointer[error]  // error of calls while the breaker is open
	state     atomic.Int32
	failures  atomic.Int32 // lost or refused connections in a row
	lastLoss  atomic.Int64 // clock: time of the last counted loss
	lastHeard atomic.Int64 // clock: time of the last bytes from the server
	opened    atomic.Int64
}

// lossesToOpen is how many lost or refused connections in a row open the breaker. A single call
// opens it too, if nothing came from the node within its command timeout.
const lossesToOpen = 3

const (
	probeFirst = 50 * time.Millisecond
	probeMax   = 250 * time.Millisecond
)

func (c *Core) newNode(addr string) *node {
	n := &node{addr: addr}
	for k := range large {
		n.lines[k].core, n.lines[k].node, n.lines[k].kind = c, n, k
		n.pools[k].core, n.pools[k].node, n.pools[k].kind = c, n, k+large
	}
	return n
}

// address returns the address to dial.
func (n *node) address() string {
	if p := n.primary.Load(); p != nil {
		return *p
	}
	return n.addr
}

// close ends the connections of a node that is not used any more.
func (n *node) close(why error) {
	for k := range large {
		if c := n.lines[k].conn.Load(); c != nil {
			c.fail(why)
		}
		n.pools[k].close(why)
	}
}

func (n *node) allows() bool { return n == nil || n.state.Load() == int32(BreakerClosed) }

// refused returns the error of a call while the breaker is open.
func (n *node) refused() error { return *n.refusal.Load() }

// refuse sets the error of calls while the breaker is open. cause is the last failure.
func (n *node) refuse(cause error) {
	refusal := fault.Refused(fmt.Errorf("%s: %w", n.address(), errBreakerOpen), cause)
	n.refusal.Store(&refusal)
}

// heard records bytes from the server. Bytes of a long reply count, and replies to callers that
// have left: these callers may have waited for a connection for most of their time.
func (n *node) heard(now time.Duration) {
	if n.lastHeard.Load() != int64(now) {
		n.lastHeard.Store(int64(now))
	}
}

// replied records the reply to a call, or a new connection.
func (n *node) replied() {
	if n != nil && n.failures.Load() != 0 {
		n.failures.Store(0)
	}
}

// silent records a call without an answer within the command timeout.
func (c *Core) silent(n *node, began time.Duration, cause error) {
	if n != nil && n.lastHeard.Load() <= int64(began) {
		c.trip(n, cause)
	}
}

// lost records a call whose connection was lost or could not be made. Calls of one connection count
// once, because they began before its loss.
func (c *Core) lost(n *node, began time.Duration, cause error) {
	if n == nil {
		return
	}
	last := n.lastLoss.Load()
	if last != 0 && last >= int64(began) || !n.lastLoss.CompareAndSwap(last, max(1, int64(c.clock.Now()))) {
		return
	}
	if n.failures.Add(1) >= lossesToOpen {
		c.trip(n, cause)
	}
}

func (c *Core) trip(n *node, cause error) {
	if !n.allows() {
		return
	}
	n.refuse(cause)
	if !n.state.CompareAndSwap(int32(BreakerClosed), int32(BreakerOpen)) {
		return
	}

	n.opened.Add(1)
	c.Warn("redstart: circuit breaker opened", n.addr, "node", n.address(), "reason", fault.Foreign(cause, false))
	c.requestTopology()
	if !c.group.Go("probe of "+n.addr, func(ctx context.Context) { c.probe(ctx, n) }) {
		n.state.Store(int32(BreakerClosed)) // the client is closing
	}
}

// probe asks a node in growing intervals until it answers, and then closes the breaker. No call
// waits for a probe.
func (c *Core) probe(ctx context.Context, n *node) {
	timer := time.NewTimer(probeFirst)
	defer timer.Stop()
	for wait := probeFirst; ; wait = min(2*wait, probeMax) {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if !c.current(n) { // its slots have moved in a failover
			n.state.Store(int32(BreakerClosed))
			return
		}
		n.state.Store(int32(BreakerHalfOpen))
		err := c.ping(ctx, n)
		if err == nil {
			n.failures.Store(0)
			n.state.Store(int32(BreakerClosed))
			c.Warn("redstart: circuit breaker closed", n.addr, "node", n.address(), "reason", "the server answers")
			return
		}
		n.refuse(err)
		n.state.Store(int32(BreakerOpen))
		timer.Reset(wait)
	}
}

// ping asks one node, in every state of its breaker.
func (c *Core) ping(ctx context.Context, n *node) error {
	if n == c.topology.seeds {
		return c.refreshTopology(ctx)
	}
	_, err := c.ask(ctx, n, "PING")
	return err
}
