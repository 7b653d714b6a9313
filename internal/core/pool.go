package core

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/fault"
)

// The budgets of a pool.
const (
	maxLines = 8                // connections for long replies to one node, for each kind
	fewLong  = 3                // long replies at once while short reads wait behind them
	lineIdle = 30 * time.Second // idle time after which a connection is closed
)

// errIdle ends a connection that was not used.
var errIdle = fmt.Errorf("%w: the connection was not used", errClosed)

// pool holds the connections for long replies of one node. One call at a time uses a connection. So
// the server writes one reply while the client reads others, and holds at most maxLines replies in
// its buffers. Further calls wait in order, and are never sent if their callers leave. Connections
// open when they are needed. Short reads borrow free connections (see [pool.borrow]). Only reads
// use them, so the order of writes does not depend on them (A3).
type pool struct {
	core *Core
	node *node
	kind kind

	mu      sync.Mutex
	lines   []*line
	free    []*line // the last one is used first
	waiting []chan *line
	long    int           // lines that read a long reply
	retryAt time.Duration // clock: no line connects for short reads before
	shorts  shortReads
}

// take returns a line for a long reply. No other call uses it. The caller returns it with give.
func (p *pool) take(ctx context.Context, due time.Duration) (*line, error) {
	p.mu.Lock()
	p.serve() // the limit of calls may have ended since the last call
	if len(p.waiting) == 0 {
		if l := p.next(); l != nil {
			p.mu.Unlock()
			return l, nil
		}
	}
	if len(p.waiting) >= maxQueued {
		p.mu.Unlock()
		return nil, fault.New(fault.ErrUnavailable, errOverloaded, "send fewer calls at once")
	}
	ready := make(chan *line, 1)
	p.waiting = append(p.waiting, ready)
	p.mu.Unlock()

	var err error
	select {
	case l := <-ready:
		return l, nil
	case <-ctx.Done():
		err = contextError(ctx)
	case <-p.core.clock.At(due):
		p.mu.Lock()
		long := p.long
		p.mu.Unlock()
		err = fmt.Errorf("%d long replies of %s did not come within %v: %w", long, p.node.address(),
			p.core.opt.CommandTimeout, errSilent)
	}
	p.leave(ready)
	return nil, fault.Classify(err, false)
}

// next returns a free line or a new one for a long reply, or nil if no more calls may read one now.
// The lock is held.
func (p *pool) next() *line {
	var l *line
	switch n := len(p.free); {
	case p.long >= fewLong && p.shorts.wait(p.core.clock.Now()):
		return nil
	case n > 0:
		l = p.free[n-1]
		p.free = p.free[:n-1]
	case len(p.lines) < maxLines:
		l = p.grow()
	default:
		return nil
	}
	l.long = true
	p.long++
	p.core.reading.Add(1)
	return l
}

// grow adds a line, which is in use. The lock is held.
func (p *pool) grow() *line {
	l := &line{core: p.core, node: p.node, kind: p.kind}
	p.lines = append(p.lines, l)
	return l
}

// leave ends the wait of a call.
func (p *pool) leave(ready chan *line) {
	p.mu.Lock()
	if i := slices.Index(p.waiting, ready); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	}
	p.mu.Unlock()
	select {
	case l := <-ready:
		p.give(l)
	default:
	}
}

// give ends the use of a line by a call. The line becomes free, and the calls that have waited
// longest get lines. If the reply to an abandoned call is still to come on the line, it is used
// last.
func (p *pool) give(l *line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.core.clock.Now()
	l.used = now
	switch {
	case l.long:
		l.long = false
		p.long--
		p.core.reading.Add(-1)
	case !l.borrowed.IsZero():
		p.shorts.took(time.Since(l.borrowed), now)
		l.borrowed = time.Time{}
	}
	if c := l.conn.Load(); c != nil && c.crowded(0) {
		p.free = slices.Insert(p.free, 0, l)
	} else {
		p.free = append(p.free, l)
	}
	p.serve()
}

// serve hands lines to the calls that have waited longest. The lock is held.
func (p *pool) serve() {
	for len(p.waiting) > 0 {
		l := p.next()
		if l == nil {
			return
		}
		p.waiting[0] <- l
		p.waiting[0] = nil
		if p.waiting = p.waiting[1:]; len(p.waiting) == 0 {
			p.waiting = nil
		}
	}
}

// trim closes connections that were not used for a while. Tracked connections stay open, because
// the loss of one makes all near-cached entries suspect.
func (p *pool) trim(now time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kind.tracks() {
		return
	}
	for _, l := range p.free {
		if c := l.conn.Load(); c != nil && now-l.used >= lineIdle {
			c.fail(errIdle)
		}
	}
}

// close ends the connections of a node that is not used any more.
func (p *pool) close(why error) {
	p.mu.Lock()
	lines := slices.Clone(p.lines)
	p.mu.Unlock()
	for _, l := range lines {
		if c := l.conn.Load(); c != nil {
			c.fail(why)
		}
	}
}
