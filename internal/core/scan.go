package core

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/fault"
)

// Scan goes over all keys of every primary that match a pattern, in steps of about count keys, and gives them to fn.
// A key can come twice. It returns fn's first error. Each step is a call with the usual deadline.
func (c *Core) Scan(ctx context.Context, pattern string, count int64, fn func(keys []string) error) error {
	client, err := c.main.get(ctx, c.due())
	if err != nil {
		return err
	}
	if !c.cluster() {
		return c.scanNode(ctx, client, c.topology.single, pattern, count, fn)
	}
	nodes := client.Nodes()
	for _, n := range c.allNodes() {
		one := nodes[n.addr]
		if one == nil {
			c.RefreshTopology()
			return fault.Classify(fmt.Errorf("the primary %s is not connected yet", n.addr), false)
		}
		if err := c.scanNode(ctx, one, n, pattern, count, fn); err != nil {
			return err
		}
	}
	return nil
}

func (c *Core) scanNode(ctx context.Context, client rueidis.Client, n *node, pattern string, count int64, fn func([]string) error) error {
	for cursor := uint64(0); ; {
		if err := ctx.Err(); err != nil {
			return fault.Classify(ended(ctx), false)
		}
		if !n.allows() {
			return fault.Classify(errBreakerOpen, false)
		}
		r, err := c.ask(ctx, client, client.B().Scan().Cursor(cursor).Match(pattern).Count(count).Build())
		if err != nil {
			return err
		}
		entry, err := r.AsScanEntry()
		if err != nil {
			err = fault.Foreign(err, false)
			if errors.Is(err, fault.ErrDenied) {
				return fault.New(fault.ErrDenied, err, "this needs the ACL rule +scan: see deploy/acl/redstart-scan.acl")
			}
			return err
		}
		if len(entry.Elements) > 0 {
			if err := fn(entry.Elements); err != nil {
				return err
			}
		}
		if cursor = entry.Cursor; cursor == 0 {
			return nil
		}
	}
}
