package core

import (
	"context"
	"errors"
	"strconv"

	"github.com/redstart-go/redstart/internal/fault"
)

// Scan passes all keys of every primary that match a pattern to fn, in steps of about count keys. A
// key may occur twice. Scan returns the first error of fn. Each step is a call with the usual
// deadline.
func (c *Core) Scan(ctx context.Context, pattern string, count int64, fn func(keys []string) error) error {
	if err := c.begin(ctx, c.due()); err != nil {
		return err
	}
	for _, n := range c.allNodes() {
		if err := c.scanNode(ctx, n, pattern, count, fn); err != nil {
			return err
		}
	}
	return nil
}

func (c *Core) scanNode(ctx context.Context, n *node, pattern string, count int64, fn func([]string) error) error {
	for cursor := "0"; ; {
		r := request{Command: ReadAt("", "SCAN", cursor, "MATCH", pattern, "COUNT",
			strconv.FormatInt(count, 10)), slot: -1, to: n}
		reply, err := c.do(ctx, ordinary, &r, c.due())
		if errors.Is(err, fault.ErrDenied) {
			return fault.New(fault.ErrDenied, err, "this needs the ACL rule +scan: see deploy/acl/redstart-scan.acl")
		}
		if err != nil {
			return err
		}

		parts, err := reply.ToTuple(2)
		if err != nil {
			return err
		}
		found, err := parts[1].AsStrSlice()
		if err != nil {
			return err
		}
		if len(found) > 0 {
			if err := fn(found); err != nil {
				return err
			}
		}
		if cursor, err = parts[0].ToString(); err != nil {
			return err
		}
		if cursor == "0" {
			return nil
		}
	}
}
