package core

import "context"

// Connections is how many connections are open.
func Connections(c *Core) int { return len(c.conns.list()) }

// DoOnce is Do without following redirections.
func (c *Core) DoOnce(ctx context.Context, cmd Command) (Reply, error) {
	r := c.request(cmd)
	r.hops = maxHops
	if err := c.begin(ctx, c.due()); err != nil {
		return Reply{}, err
	}
	return c.do(ctx, ordinary, &r, c.due())
}
