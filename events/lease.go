package events

import (
	"context"
	"time"
)

// deadline has passed when either clock says so: the monotonic clock stops while a machine is
// suspended.
type deadline struct{ at time.Time }

func (d deadline) passed(now time.Time) bool {
	return !now.Before(d.at) || !now.Round(0).Before(d.at.Round(0))
}

// renewed extends the lease, counted from the time at which the poll was sent. It returns false if
// the handlers' context has ended in the meantime: a late reply does not restore the ownership.
func (c *partitionConsumer) renewed(sent time.Time) bool {
	c.run.mu.Lock()
	defer c.run.mu.Unlock()
	if c.expired {
		return false
	}
	c.until = deadline{sent.Add(c.d.opt.Lease - c.d.opt.Lease/leaseMargin)}
	c.watchdog.Reset(c.d.core.Time().Until(c.until.at))
	if c.stalled {
		c.stalled = false
		for _, q := range c.queues {
			c.makeRunnable(q)
			c.run.offer(q) // it freed its slot when it stopped
		}
	}
	return true
}

// expire ends the handlers' context when the lease is over (E2).
func (c *partitionConsumer) expire() {
	c.run.mu.Lock()
	defer c.run.mu.Unlock()
	switch {
	case c.until.passed(c.d.core.Time().Now()):
		c.expired = true
		c.cancel(ErrLost)
		c.wake()
	case c.phase != over:
		c.watchdog.Reset(c.d.core.Time().Until(c.until.at))
	}
}

// left returns the rest of the lease.
func (c *partitionConsumer) left() time.Duration {
	c.run.mu.Lock()
	defer c.run.mu.Unlock()
	return max(c.d.core.Time().Until(c.until.at), 0)
}

// withinLease derives the context of a call that must end with the lease.
func (c *partitionConsumer) withinLease(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.left())
}

func (c *partitionConsumer) lapsed() bool {
	c.run.mu.Lock()
	defer c.run.mu.Unlock()
	return c.expired || c.until.passed(c.d.core.Time().Now())
}
