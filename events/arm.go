package events

import (
	"context"
	"time"

	"github.com/redstart-go/redstart/internal/core"
)

// waitTime is how long the loop may wait: at most until something is due that it could read, or
// until a long channel may have to overflow.
func (c *partitionConsumer) waitTime(wait time.Duration) time.Duration {
	c.run.mu.Lock()
	defer c.run.mu.Unlock()
	if c.crowding {
		wait = min(wait, overflowAfter)
	}
	if !c.due.IsZero() && c.phase.serves() && !c.full() {
		wait = min(wait, max(c.d.core.Time().Until(c.due), 0))
	}
	return wait
}

// reread makes the next poll read. The server's push stays armed: a poll that finds nothing new
// does not trigger it.
func (c *partitionConsumer) reread() {
	c.run.mu.Lock()
	defer c.run.mu.Unlock()
	switch c.phase {
	case caughtUp:
		c.to(reading)
	case armed:
		c.to(checking)
	}
}

// unread makes the next poll read, after a push or where the server cannot push.
func (c *partitionConsumer) unread() {
	c.run.mu.Lock()
	defer c.run.mu.Unlock()
	if c.phase.serves() {
		c.to(reading)
	}
}

// arm asks the server to push when there is more to read or when a due time changes. The same call
// looks for changes since the last poll, so that none is missed. again reports that it found one.
func (c *partitionConsumer) arm(ctx context.Context) (again bool, err error) {
	c.run.mu.Lock()
	todo := c.phase == caughtUp && c.tip != ""
	c.run.mu.Unlock()
	if !todo {
		return false, nil
	}
	if err := c.d.points.Fail("arming", ""); err != nil {
		return false, err
	}
	ctx, cancel := c.withinLease(ctx)
	defer cancel()
	replies := c.d.core.DoMultiAwaited(ctx,
		core.ReadAt(c.p.stream, "XREAD", "COUNT", "1", "STREAMS", c.p.stream, c.tip),
		core.Read("ZRANGE", c.p.delayed, "0", "0", "WITHSCORES"),
		core.Read("ZRANGE", c.keys.retry, "0", "0", "WITHSCORES"))
	first, err := replies[0].Get()
	if err != nil {
		return false, err
	}
	again = !first.IsNil()
	for _, r := range replies[1:] {
		msg, err := r.Get()
		if err != nil {
			return false, err
		}
		if scores, _ := msg.AsZScores(); len(scores) > 0 && scores[0].Score < taken {
			again = again || c.due.IsZero() || scores[0].Score < c.dueMS
		}
	}
	c.run.mu.Lock()
	switch {
	case c.phase != caughtUp: // the partition drains
	case again:
		c.to(reading)
	default:
		c.to(armed)
	}
	c.run.mu.Unlock()
	return again, c.d.points.Fail("armed", "")
}
