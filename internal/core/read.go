package core

import (
	"errors"
	"os"
	"runtime"
	"time"

	"github.com/redstart-go/redstart/internal/dial"
	"github.com/redstart-go/redstart/internal/wire"
)

// longPart is a number of bytes. While more bytes of a long string are missing, its reader yields
// after each read. So the callers with short replies wait for one read, and not for a whole string.
const longPart = 128 << 10

// read is the work of the leader. It returns after k has handed on the role, or has left.
func (c *conn) read(k *call) {
	// An idle connection costs nothing, and the readers of long replies need the processors.
	dial.ReadBusily(c.nc, k.due != forever && c.line.core.reading.Load() <= 1)
	var batch [16]Reply
	for full := false; ; {
		n := 0
		var err error
		for n < len(batch) {
			var push bool
			if batch[n], push, err = c.dec.Next(); err != nil {
				break
			}
			if push {
				c.line.pushed(&batch[n])
				continue
			}
			n++
		}
		// no reply may follow a full batch
		if (n > 0 || full) && c.deliver(k, batch[:n], err == wire.ErrNeedMore) {
			return
		}

		full = n == len(batch)
		if err == nil {
			continue
		}
		if err != wire.ErrNeedMore {
			c.fail(err)
			return
		}
		// callers that have just received replies send again, so that the next read returns more
		// replies
		if c.crowded(1) {
			c.line.core.yield()
		}
		if err := c.dec.Fill(c.nc); err == nil {
			// Peek: the reply to a PING must not wake the clock
			now := c.line.core.clock.Peek()
			c.lastRead.Store(int64(now))
			c.line.node.heard(now)
			if c.dec.Missing() >= longPart {
				runtime.Gosched()
			}
		} else if !errors.Is(err, os.ErrDeadlineExceeded) {
			c.fail(err)
			return
		} else if c.interrupted(k) {
			return
		}
	}
}

// deliver passes replies to the calls at the head of the queue. It reports whether the leader has
// handed on its role: it has its own reply, and the buffer holds no other.
func (c *conn) deliver(k *call, batch []Reply, drained bool) (handedOn bool) {
	var woken [len([16]Reply{}) + 1]*call
	n := 0

	c.mu.Lock()
	for i := range batch {
		if c.head == c.unwritten { // no call waits for this reply
			c.failLocked(errors.New("received a reply without a command"))
			c.mu.Unlock()
			return true
		}
		to := c.queue[c.head]
		if to.abandoned {
			c.sizedLate(to, &batch[i])
		} else {
			to.replies = append(to.replies, batch[i])
		}
		if to.want--; to.want > 0 {
			continue
		}
		c.pop()
		if to.abandoned {
			c.abandoned--
			continue
		}
		c.expected++
		if c.settle(to) {
			woken[n] = to
			n++
		}
	}

	if drained && (k.settled || k.due == forever) {
		c.leader = nil
		handedOn = true
	}
	next := (*call)(nil)
	if handedOn {
		next = c.handOn()
	}
	c.mu.Unlock()

	clear(batch)
	for _, to := range woken[:n] {
		to.wake <- settled
	}
	if next != nil {
		next.wake <- lead
	}
	return handedOn
}

// handOn selects the next leader among the waiting calls. The caller wakes it after it releases the
// lock.
func (c *conn) handOn() *call {
	if c.err != nil {
		return nil
	}
	for _, k := range c.queue[c.head:] {
		if k.parked {
			k.parked = false
			c.leader = k
			return k
		}
	}
	return nil
}

// interrupted handles an interrupted read. The leader leaves if its time is over.
func (c *conn) interrupted(k *call) bool {
	c.mu.Lock()
	if c.err == nil {
		_ = c.nc.SetReadDeadline(time.Time{})
	}
	if !k.settled && !k.expired(c.line.core.clock.Now()) {
		c.mu.Unlock()
		return false
	}
	if !k.settled {
		c.leave(k)
	}
	c.leader = nil
	next := c.handOn()
	c.mu.Unlock()
	if next != nil {
		next.wake <- lead
	}
	return true
}

// watch reads while no caller does. idle is how long the connection has no reader after its last
// call, unless that call waits for a push.
func (c *conn) watch(idle time.Duration) {
	k := background()
	timer := time.NewTimer(idle)
	defer timer.Stop()
	for seen := int64(-1); ; {
		awaited := false
		select {
		case <-timer.C:
		case <-c.listen:
			awaited = true
		case <-c.ended:
			return
		}
		c.mu.Lock()
		reads := c.leader == nil && (awaited || c.activity == seen) && c.err == nil
		seen = c.activity
		if reads {
			c.leader = k
		}
		c.mu.Unlock()

		if reads {
			c.read(k)
		}
		timer.Reset(idle)
	}
}

// awaitPush makes the background reader read at once.
func (c *conn) awaitPush() {
	select {
	case c.listen <- struct{}{}:
	default:
	}
}

// crowded reports whether more than n calls are in progress.
func (c *conn) crowded(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.queue)-c.head > n
}
