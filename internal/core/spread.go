package core

import (
	"context"
	"slices"
	"time"
)

// The budgets of short reads on connections of the pool.
const (
	// spreadLines is how many connections of a pool short reads use at once, next to the shared
	// one, while no long reply is read.
	spreadLines = 3
	// With more than spreadCalls calls in flight, all short calls share one connection: their
	// commands share system calls, which saves more than several connections gain.
	spreadCalls = 20
	// sharedCalls is how many calls later reads spread again. The number of calls in flight is low
	// for a moment after each batch of replies.
	sharedCalls = 256
	// A line connects after spreadWishes reads in half a second that would have used it. A service
	// with one caller at most times opens no connection.
	spreadWishes = 32
	// borrowPause is the time without new connections for short reads after a failed attempt. The
	// server may have reached its limit of connections.
	borrowPause = 5 * time.Second
)

// borrow returns a line of the pool for a short read, or nil if the read takes the shared
// connection. Reads borrow in two cases:
//
//   - Another call reads a long reply. On the shared connection, all short reads would wait for one
//     goroutine, which waits behind the readers of long replies for a processor.
//   - Few calls are in flight, and measurements show that several connections are faster. On one
//     connection, the client and the server work one after the other.
//
// The second case is for ordinary reads only. More tracked connections would mean more connections
// whose loss makes near-cached entries suspect. In a cluster, the nodes work at the same time
// already.
func (c *Core) borrow(n *node, k kind) (*line, sample) {
	p := &n.pools[k]
	if c.reading.Load() > 0 {
		return p.borrow(maxLines, 1), sample{}
	}
	if k != ordinary || c.cluster() || !n.lines[k].spreads() {
		return nil, sample{}
	}

	spread, counts := p.trial.next()
	var l *line
	if spread {
		l = p.borrow(spreadLines, spreadWishes)
		counts = counts && p.lent.Load() > 0 // not before the first line is connected
	}
	if !counts {
		return l, sample{}
	}
	return l, sample{trial: &p.trial, spread: spread, began: c.clock.Exact()}
}

// spreads reports whether a read should use another connection than this shared one: few calls use
// it, and at least one. An abandoned write may not have reached the server yet. A later read must
// stay behind it.
func (l *line) spreads() bool {
	c := l.conn.Load()
	if c == nil || c.sharing.Load() > 0 {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.head < len(c.queue) && c.abandoned == 0
}

// sense notes whether many calls are in flight. The lock is held.
func (c *conn) sense() {
	inFlight := len(c.queue) - c.head + int(c.line.node.pools[c.line.kind%large].lent.Load())
	left := c.sharing.Load()
	switch {
	case inFlight > spreadCalls:
		if left != sharedCalls {
			c.sharing.Store(sharedCalls)
		}
	case left > 0:
		c.sharing.Store(left - 1)
	}
}

// borrow returns a connected line that no call uses, for a short read. It returns nil if there is
// none, or if short reads use most lines already. It never waits. After some wishes without a
// connected line, one connects for later calls.
func (p *pool) borrow(most int32, wishes int) *line {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lent.Load() >= most {
		return nil
	}

	unconnected := -1
	for i, l := range slices.Backward(p.free) {
		switch c := l.conn.Load(); {
		case c == nil:
			unconnected = i
		case !c.crowded(0):
			return p.lend(i)
		}
	}

	if p.wished++; p.wished >= wishes && p.core.clock.Now() >= p.retryAt {
		p.wished = 0
		p.connect(unconnected)
	}
	return nil
}

// lend removes a line from the free ones. The lock is held.
func (p *pool) lend(at int) *line {
	l := p.free[at]
	p.free = slices.Delete(p.free, at, at+1)
	l.lent = true
	p.lent.Add(1)
	return l
}

// connect connects a free line in the background, or a new line if at is -1. The lock is held.
func (p *pool) connect(at int) {
	if at < 0 {
		if len(p.lines) == maxLines {
			return
		}
		l := &line{core: p.core, node: p.node, kind: p.kind}
		p.lines = append(p.lines, l)
		p.free = append(p.free, l)
		at = len(p.free) - 1
	}

	l := p.lend(at)
	p.core.group.Go("connection to "+p.node.addr, func(ctx context.Context) {
		defer p.give(l)
		if _, err := l.get(ctx, p.core.due()); err != nil { // the dial logs its error
			p.mu.Lock()
			p.retryAt = p.core.clock.Now() + borrowPause
			p.mu.Unlock()
		}
	}) // if the group has ended, the client is closing, and the line stays lent
}
