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

// Awake reports whether the clock of calls runs.
func Awake(c *Core) bool { return !c.clock.Asleep() }

// MaxLines is how many connections for long replies one node has.
const MaxLines = maxLines

// CloseIdle closes the connections for long replies that are not in use, as if they had been idle for long.
func CloseIdle(c *Core) {
	for _, n := range c.allNodes() {
		for k := range n.pools {
			n.pools[k].trim(c.clock.Exact() + lineIdle)
		}
	}
}
