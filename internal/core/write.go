package core

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"time"

	"github.com/redstart-go/redstart/internal/dial"
	"github.com/redstart-go/redstart/internal/wire"
)

// writeRounds is how many buffers one caller writes for others before a goroutine takes over.
const writeRounds = 16

// flush writes until the buffer is empty. It is called with the lock held, and gives it up while it writes.
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
		// Let those who are ready to send add their commands to this write: callers that wait for the lock, and callers
		// whose replies have just come with the writer's own. A lone caller does not yield.
		if len(c.queue)-c.head > 1 || c.expected > 0 {
			c.mu.Unlock()
			runtime.Gosched()
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

// flushLater gives the writing role to a goroutine, which begins with the rest of a buffer that was partly written.
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

// take returns what is to be written, without the calls whose callers left.
func (c *conn) take() wire.Buffer {
	if c.dropped > 0 {
		var kept wire.Buffer
		live := c.queue[:c.unwritten]
		for _, k := range c.queue[c.unwritten:] {
			if !k.gone {
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
