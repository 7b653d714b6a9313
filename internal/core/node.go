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
	breaker   atomic.Int64           // a breaker
	failures  atomic.Int32           // lost or refused connections in a row; not 0 while the breaker is open
	lastLoss  atomic.Int64           // clock: time of the last counted loss
	lastHeard atomic.Int64           // clock: time of the last bytes from the server
}

// breaker is the state of a circuit breaker, and how often it has opened. So a probe notices that
// the breaker was closed and opened again while it slept.
type breaker int64

func (b breaker) state() BreakerState { return BreakerState(b & 3) }
func (b breaker) opened() int64       { return int64(b >> 2) }

func (b breaker) with(s BreakerState) breaker { return b&^3 | breaker(s) }

func (n *node) load() breaker { return breaker(n.breaker.Load()) }

// move changes the state of a breaker. It reports whether the breaker was still from.
func (n *node) move(from breaker, to BreakerState) bool {
	return n.breaker.CompareAndSwap(int64(from), int64(from.with(to)))
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

func (n *node) allows() bool { return n == nil || n.load().state() == BreakerClosed }

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

// replied records the reply to a call, or a new connection. A reply closes an open breaker, so that
// no caller waits for the next probe. A refusal by the server, such as LOADING, does not.
func (c *Core) replied(n *node, refused bool) {
	switch {
	case n == nil || n.failures.Load() == 0:
	case n.allows():
		n.failures.Store(0)
	case !refused:
		c.recovered(n)
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
	was := n.load()
	if was.state() != BreakerClosed {
		return
	}
	n.refuse(cause)
	n.failures.Store(lossesToOpen)
	open := (was + 1<<2).with(BreakerOpen)
	if !n.breaker.CompareAndSwap(int64(was), int64(open)) {
		return
	}

	c.Warn("redstart: circuit breaker opened", n.addr, "node", n.address(), "reason", fault.Foreign(cause, false))
	c.requestTopology()
	if !c.group.Go("probe of "+n.addr, func(ctx context.Context) { c.probe(ctx, n, open) }) {
		n.move(open, BreakerClosed) // the client is closing
	}
}

// recovered closes the breaker of a node that answers.
func (c *Core) recovered(n *node) {
	for {
		was := n.load()
		if was.state() == BreakerClosed {
			return
		}
		if n.move(was, BreakerClosed) {
			break
		}
	}
	n.failures.Store(0)
	c.Warn("redstart: circuit breaker closed", n.addr, "node", n.address(), "reason", "the server answers")
}

// probe asks a node in growing intervals until it answers, and then closes the breaker. No call
// waits for a probe. It ends if the reply to a call has closed the breaker.
func (c *Core) probe(ctx context.Context, n *node, open breaker) {
	timer := time.NewTimer(probeFirst)
	defer timer.Stop()
	for wait := probeFirst; ; wait = min(2*wait, probeMax) {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if !c.current(n) { // its slots have moved in a failover
			n.move(open, BreakerClosed)
			return
		}
		if !n.move(open, BreakerHalfOpen) {
			return
		}
		err := c.ping(ctx, n)
		if err == nil {
			c.recovered(n)
			return
		}
		n.refuse(err)
		if !n.move(open.with(BreakerHalfOpen), BreakerOpen) {
			return
		}
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
