package core

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	"github.com/redstart-go/redstart/internal/dial"
	"github.com/redstart-go/redstart/internal/wire"
)

// writeRounds is how many buffers one caller writes for others. Then a goroutine continues.
const writeRounds = 16

// flush writes until the buffer is empty. The lock is held, except during a write.
func (c *conn) flush(k *call) {
	c.writer = k
	if c.late {
		c.late = false
		_ = c.nc.SetWriteDeadline(time.Time{})
	}
	for rounds := 0; c.err == nil && c.out.Len() > 0; rounds++ {
		if rounds == writeRounds && k.due != forever {
			c.flushLater(nil)
			return
		}
		// Other callers may be ready to send: they wait for the lock, or have just received their
		// replies. The yield lets them add their commands to this write. A single caller does not
		// yield.
		if len(c.queue)-c.head > 1 || c.expected > 0 {
			c.mu.Unlock()
			c.line.core.yield()
			c.mu.Lock()
			c.expected = 0
			if c.err != nil {
				break
			}
		}

		buf := c.take()
		c.mu.Unlock()
		rest, err := buf.Write(c.nc)
		c.mu.Lock()
		if err == nil {
			buf.Reset(maxSpare)
			c.spare = buf
			continue
		}
		if dial.IsTLS(c.nc) || !errors.Is(err, os.ErrDeadlineExceeded) {
			c.writer = nil
			c.failLocked(err)
			return
		}
		c.flushLater(rest) // the caller's time is over, and the server does not read
		return
	}
	c.writer = nil
}

// flushLater hands the writing role to a goroutine. It first writes the rest of an interrupted
// write.
func (c *conn) flushLater(rest net.Buffers) {
	w := background()
	c.writer, c.late = w, false
	_ = c.nc.SetWriteDeadline(time.Time{})
	if !c.line.core.group.Go("writer to "+c.line.node.addr, func(context.Context) {
		_, err := rest.WriteTo(c.nc)
		c.mu.Lock()
		defer c.mu.Unlock()
		if err != nil {
			c.writer = nil
			c.failLocked(err)
			return
		}
		c.flush(w)
	}) {
		c.writer = nil
		c.failLocked(errClosed)
	}
}

// take returns the bytes to write, without abandoned calls.
func (c *conn) take() wire.Buffer {
	if c.dropped > 0 {
		var kept wire.Buffer
		live := c.queue[:c.unwritten]
		for _, k := range c.queue[c.unwritten:] {
			if !k.abandoned {
				kept.Part(&c.out, k.from, k.to)
				live = append(live, k)
			}
		}
		clear(c.queue[len(live):])
		c.queue, c.out = live, kept
		c.abandoned -= c.dropped
		c.dropped = 0
	}

	for _, k := range c.queue[c.unwritten:] {
		k.written = true
	}
	c.unwritten = len(c.queue)
	buf := c.out
	c.out, c.spare = c.spare, wire.Buffer{}
	return buf
}
