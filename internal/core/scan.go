package core

import "context"

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
	for cursor := ""; ; {
		found, next, err := c.scanOnce(ctx, n, cursor, pattern, count)
		if err != nil {
			return err
		}
		if len(found) > 0 {
			if err := fn(found); err != nil {
				return err
			}
		}
		if cursor = next; cursor == "0" {
			return nil
		}
	}
}
