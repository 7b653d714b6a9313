package faults

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// link is one proxied connection.
type link struct {
	client, server net.Conn
	done           chan struct{} // closed when the link is cut
	once           sync.Once
	subscribed     atomic.Bool // the client has a subscription
	deaf           atomic.Bool // the proxy drops the replies
	commands       commands
}

type chunk struct {
	bytes []byte
	due   time.Time
}

// pump copies one direction until one end closes. Reading and writing are separate, so that a delay
// does not reduce the throughput.
func (p *Proxy) pump(l *link, dst, src net.Conn, g *gate, count, delay *atomic.Int64) {
	chunks := make(chan chunk, 64)
	p.wg.Go(func() {
		defer close(chunks)
		for {
			buf := make([]byte, 32<<10)
			n, err := src.Read(buf)
			if n > 0 {
				c := chunk{bytes: buf[:n]}
				if delay != nil && delay.Load() > 0 {
					c.due = time.Now().Add(time.Duration(delay.Load()))
				}
				select {
				case chunks <- c:
				case <-l.done:
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	for {
		select {
		case <-l.done:
			return
		case c, open := <-chunks:
			if !l.wait(c.due) || !p.pass(l, g) {
				return
			}
			if !open {
				l.cut(false)
				return
			}
			if dst == l.server && bytes.Contains(c.bytes, []byte("SUBSCRIBE\r\n")) {
				l.subscribed.Store(true)
			}
			if dst == l.client && l.deaf.Load() {
				continue
			}
			if !p.write(l, dst, c.bytes, count) {
				return
			}
		}
	}
}

// write passes bytes on. It reports whether the direction continues.
func (p *Proxy) write(l *link, dst net.Conn, bytes []byte, count *atomic.Int64) bool {
	if p.losses != nil {
		return p.writeFrames(l, dst, bytes, count)
	}
	if _, err := dst.Write(bytes); err != nil {
		l.cut(false)
		return false
	}
	count.Add(int64(len(bytes)))
	return true
}

// wait sleeps until due. It returns false if the link was cut before.
func (l *link) wait(due time.Time) bool {
	if due.IsZero() {
		return true
	}
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.done:
		return false
	}
}

// pass waits until the gate is open. It returns false if the link was cut before.
func (p *Proxy) pass(l *link, g *gate) bool {
	p.mu.Lock()
	opened := g.opened
	p.mu.Unlock()
	select {
	case <-opened:
		return true
	case <-l.done:
		return false
	}
}

// gate stalls one direction: the channel opened is closed while bytes may pass.
type gate struct{ opened chan struct{} }

func openGate() gate {
	g := gate{opened: make(chan struct{})}
	close(g.opened)
	return g
}

func (p *Proxy) set(g *gate, open bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-g.opened:
		if !open {
			g.opened = make(chan struct{})
		}
	default:
		if open {
			close(g.opened)
		}
	}
}

func (l *link) cut(rst bool) {
	l.once.Do(func() {
		close(l.done)
		if rst {
			reset(l.client)
			reset(l.server)
		}
		l.client.Close()
		l.server.Close()
	})
}

// reset makes the next Close send RST.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
}
