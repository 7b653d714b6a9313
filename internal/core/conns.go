package core

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// conns are the open connections of a client.
type conns struct {
	mu   sync.Mutex
	all  atomic.Pointer[[]*conn]
	shut bool
}

func (s *conns) list() []*conn {
	if all := s.all.Load(); all != nil {
		return *all
	}
	return nil
}

func (s *conns) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut {
		return false
	}
	all := append(append([]*conn(nil), s.list()...), c)
	s.all.Store(&all)
	return true
}

func (s *conns) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rest []*conn
	for _, other := range s.list() {
		if other != c {
			rest = append(rest, other)
		}
	}
	s.all.Store(&rest)
}

// end closes all connections and refuses new ones.
func (s *conns) end() {
	s.mu.Lock()
	s.shut = true
	all := s.list()
	s.mu.Unlock()
	for _, c := range all {
		c.fail(errClosed)
	}
}

// tick passes a tick of the clock to all connections.
func (s *conns) tick(now time.Duration) (busy bool) {
	for _, c := range s.list() {
		busy = c.tick(now) || busy
	}
	return busy
}

// probe sends a PING on an idle connection. It ends a connection that does not answer.
func (c *conn) probe(now time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := time.Duration(c.lastRead.Load())
	if c.err != nil || now-last < keepAlive {
		return
	}
	if c.head < len(c.queue) {
		if now-max(last, c.queue[c.head].began) >= max(patience, c.line.core.opt.CommandTimeout) {
			c.failLocked(fmt.Errorf("no answer for %v: %w", patience, errSilent))
		}
		return
	}
	c.command(now, ReadAt("", "PING"))
}

// command sends a command and discards its reply. The lock is held.
func (c *conn) command(now time.Duration, cmd Command) {
	k := background()
	k.began, k.want, k.from = now, 1, c.out.Mark()
	cmd.addTo(&c.out)
	k.to = c.out.Mark()
	c.queue = append(c.queue, k)
	if c.writer == nil {
		c.flushLater(nil)
	}
}
