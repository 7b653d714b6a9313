package core

import (
	"context"
	"sync/atomic"
	"time"
)

// BreakerState says whether calls reach a node.
type BreakerState int32

const (
	BreakerClosed   BreakerState = iota // calls go through
	BreakerOpen                         // calls fail at once
	BreakerHalfOpen                     // calls fail at once while one probe asks the node
)

func (s BreakerState) String() string {
	return [...]string{"closed", "open", "half-open"}[s]
}

// node is one server as the breaker sees it, shared by all connections to it.
type node struct {
	addr      string
	state     atomic.Int32
	failures  atomic.Int32 // in a row, on the network
	lastLoss  atomic.Int64 // clock: when the last of them was counted
	lastReply atomic.Int64 // clock
	opened    atomic.Int64
	adopted   atomic.Int64 // clock: when slots last moved here
}

// lossesToOpen is how many lost or refused connections in a row open the breaker. One call
// that got nothing in its whole command timeout, while nobody else got anything, opens it alone.
const lossesToOpen = 3

const (
	probeFirst = 50 * time.Millisecond
	probeMax   = 250 * time.Millisecond
)

func (n *node) allows() bool { return n == nil || n.state.Load() == int32(BreakerClosed) }

func (n *node) replied(now time.Duration) {
	if n == nil {
		return
	}
	if n.lastReply.Load() != int64(now) {
		n.lastReply.Store(int64(now))
	}
	if n.failures.Load() != 0 {
		n.failures.Store(0)
	}
}

// silent records a call that waited the whole command timeout for nothing.
func (c *Core) silent(n *node, began time.Duration) {
	if n != nil && n.lastReply.Load() <= int64(began) {
		c.trip(n)
	}
}

// lost records a call whose connection broke or could not be made. All calls that a connection took along
// count as one: they began before it was lost.
func (c *Core) lost(n *node, began time.Duration) {
	if n == nil {
		return
	}
	last := n.lastLoss.Load()
	if last != 0 && last >= int64(began) || !n.lastLoss.CompareAndSwap(last, max(1, int64(c.clock.Now()))) {
		return
	}
	if n.failures.Add(1) >= lossesToOpen {
		c.trip(n)
	}
}

func (c *Core) trip(n *node) {
	if !n.state.CompareAndSwap(int32(BreakerClosed), int32(BreakerOpen)) {
		return
	}
	n.opened.Add(1)
	if c.cluster() {
		c.RefreshTopology()
	}
	if !c.group.Go("probe of "+n.addr, func(ctx context.Context) { c.probe(ctx, n) }) {
		n.state.Store(int32(BreakerClosed)) // the client is closing
	}
}

// probe asks a node in growing intervals until it answers, then lets calls through again.
// No caller pays for the asking.
func (c *Core) probe(ctx context.Context, n *node) {
	timer := time.NewTimer(probeFirst)
	defer timer.Stop()
	for wait := probeFirst; ; wait = min(2*wait, probeMax) {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if !c.current(n) { // a failover took its slots away
			n.state.Store(int32(BreakerClosed))
			return
		}
		n.state.Store(int32(BreakerHalfOpen))
		if c.ping(ctx, n) == nil {
			n.failures.Store(0)
			n.state.Store(int32(BreakerClosed))
			return
		}
		n.state.Store(int32(BreakerOpen))
		timer.Reset(wait)
	}
}
