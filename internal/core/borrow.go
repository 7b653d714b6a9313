package core

import (
	"context"
	"slices"
	"time"

	"github.com/redstart-go/redstart/internal/tick"
)

// borrowPause is the time without new connections for short reads after a failed attempt. The
// server may have reached its limit of connections.
const borrowPause = 5 * time.Second

// shortReads reports whether short reads wait behind long replies. A server answers the commands of
// one turn one after another. So a short read can wait until several long replies are copied,
// although it has a connection of its own.
type shortReads struct {
	best  time.Duration // time of a short read that did not wait
	slow  int           // grows by 2 with each slow read, and falls by 1 with each other one
	until time.Duration // clock: end of the time in which they are known to wait
}

const (
	slowFactor = 16 // a short read is slow if it takes more than this many times the best time
	slowWait   = 32 // short reads wait while shortReads.slow is greater
	slowMost   = 64 // limit of shortReads.slow, so that it falls soon when the wait is over
)

// took adds the time of a short read. Short reads wait if more than a third of them are slow.
func (s *shortReads) took(d, now time.Duration) {
	if s.best == 0 || d < s.best {
		s.best = d
	}
	if d > slowFactor*s.best {
		s.slow = min(s.slow+2, slowMost)
	} else {
		s.slow = max(s.slow-1, 0)
	}
	if s.slow > slowWait {
		s.until = now + 2*tick.Grain
	}
	s.best += s.best >> 10 // forgets the times of a faster network
}

// wait reports whether short reads wait.
func (s *shortReads) wait(now time.Duration) bool { return now < s.until }

// borrow returns a connected line of the pool that no call uses, for a short read while a long
// reply is read. On the shared connection, all short reads would wait for one goroutine, which
// waits behind the readers of long replies for a processor. borrow never waits. If there is no such
// line, it returns nil, and a line connects for later calls.
func (p *pool) borrow() *line {
	p.mu.Lock()
	defer p.mu.Unlock()
	unconnected := -1
	for i, l := range slices.Backward(p.free) {
		switch c := l.conn.Load(); {
		case c == nil:
			unconnected = i
		case !c.crowded(0):
			p.free = slices.Delete(p.free, i, i+1)
			l.borrowed = time.Now()
			return l
		}
	}
	if p.core.clock.Now() >= p.retryAt {
		p.connect(unconnected)
	}
	return nil
}

// connect connects a free line in the background, or a new line if at is -1. The lock is held.
func (p *pool) connect(at int) {
	var l *line
	switch {
	case at >= 0:
		l = p.free[at]
		p.free = slices.Delete(p.free, at, at+1)
	case len(p.lines) < maxLines:
		l = p.grow()
	default:
		return
	}
	p.core.group.Go("connection to "+p.node.addr, func(ctx context.Context) {
		defer p.give(l)
		if _, err := l.get(ctx, p.core.due()); err != nil { // the dial logs its error
			p.mu.Lock()
			p.retryAt = p.core.clock.Now() + borrowPause
			p.mu.Unlock()
		}
	}) // if the group has ended, the client is closing, and the line stays in use
}
