package core

import (
	"errors"
	"os"
	"runtime"
	"time"

	"github.com/redstart-go/redstart/internal/wire"
)

// read is the leader's part: it returns when k is settled or has given up the role.
func (c *conn) read(k *call) {
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
		if (n > 0 || full) && c.deliver(k, batch[:n], err == wire.ErrNeedMore) { // after a full batch, none may follow
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
		if c.crowded(1) { // let those who have just got their replies send again: then more replies come with one read
			runtime.Gosched()
		}
		if err := c.dec.Fill(c.nc); err == nil {
			c.lastRead.Store(int64(c.line.core.clock.Peek())) // the reply to a keep-alive wakes no clock
		} else if !errors.Is(err, os.ErrDeadlineExceeded) {
			c.fail(err)
			return
		} else if c.interrupted(k) {
			return
		}
	}
}

// deliver gives replies to the calls at the head of the queue. It reports whether the leader has handed on its role:
// because it has its own reply and no more are buffered.
func (c *conn) deliver(k *call, batch []Reply, drained bool) (handedOn bool) {
	var woken [len([16]Reply{}) + 1]*call
	n := 0

	c.mu.Lock()
	for i := range batch {
		if c.head == c.unwritten { // a reply that no call waits for
			c.failLocked(errors.New("received a reply without a command"))
			c.mu.Unlock()
			return true
		}
		to := c.queue[c.head]
		if !to.gone {
			to.replies = append(to.replies, batch[i])
		}
		if to.want--; to.want > 0 {
			continue
		}
		c.pop()
		if to.gone {
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

// handOn finds the next leader among those who wait. The caller wakes it after the lock.
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

// interrupted is for a leader whose read was interrupted: it leaves if its time is over.
func (c *conn) interrupted(k *call) bool {
	c.mu.Lock()
	if c.err == nil {
		_ = c.nc.SetReadDeadline(time.Time{})
	}
	if !k.settled && !k.over(c.line.core.clock.Now()) {
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

// watch reads while no caller does. idle is how long a connection is left without a reader after its last call.
func (c *conn) watch(idle time.Duration) {
	k := background()
	timer := time.NewTimer(idle)
	defer timer.Stop()
	for seen := int64(-1); ; {
		select {
		case <-timer.C:
		case <-c.ended:
			return
		}
		c.mu.Lock()
		quiet := c.leader == nil && c.activity == seen
		seen = c.activity
		if quiet && c.err == nil {
			c.leader = k
		}
		c.mu.Unlock()
		if quiet {
			c.read(k)
		}
		timer.Reset(idle)
	}
}

// crowded reports whether more calls than n are under way.
func (c *conn) crowded(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.queue)-c.head > n
}
