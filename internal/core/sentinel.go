package core

import (
	"context"
	"fmt"
	"time"
)

// findPrimary asks the sentinels for the primary. It closes the connections to any other server.
// One caller asks at a time.
func (c *Core) findPrimary(ctx context.Context) error {
	select {
	case c.finding <- struct{}{}:
		defer func() { <-c.finding }()
	case <-ctx.Done():
		return ctx.Err()
	}
	addr, err := c.sentinels.Primary(ctx)
	if err != nil {
		return err
	}
	if n := c.topology.single; n.address() != addr {
		n.primary.Store(&addr)
		n.close(fmt.Errorf("the primary is %s now", addr))
	}
	return nil
}

func (c *Core) watchSentinels(ctx context.Context) {
	timer := time.NewTimer(sentinelEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-c.topology.soon:
		}
		if c.facts.Load() != nil {
			_ = c.findPrimary(ctx) // after a failure, the known primary stays
		}
		timer.Reset(sentinelEvery)
	}
}
