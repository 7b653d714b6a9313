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

// AskTopology stands for a question to the cluster. The returned function adopts an answer: the first address owns all slots but
// slot 0, the last one owns slot 0.
func AskTopology(c *Core) (adopt func(addrs ...string)) {
	question := c.topology.questions.Add(1)
	return func(addrs ...string) {
		ranges := make([]slotRange, len(addrs))
		for i, addr := range addrs {
			ranges[i] = slotRange{addr: addr}
		}
		ranges[0].to = slots - 1
		c.adoptSlots(ranges, question)
	}
}

// NodeAt looks up the node with an address, as a call does that follows a redirection.
func NodeAt(c *Core, addr string) { c.nodeAt(addr) }

// ConnectTo connects to the node with an address.
func ConnectTo(ctx context.Context, c *Core, addr string) error {
	_, err := c.ask(ctx, c.nodeAt(addr), "PING")
	return err
}

// ConnectionTo identifies the open connection to a node; it is nil if there is none.
func ConnectionTo(c *Core, addr string) any {
	if conn := c.nodeAt(addr).lines[ordinary].conn.Load(); conn != nil {
		return conn
	}
	return nil
}

// TakeLong takes a connection for long replies, as a call does, and returns what gives it back.
func TakeLong(ctx context.Context, c *Core) (release func(), err error) {
	p := &c.topology.single.pools[ordinary]
	l, err := p.take(ctx, c.due())
	return func() { p.give(l) }, err
}

// WaitingForLong is how many calls wait for a connection for long replies.
func WaitingForLong(c *Core) int {
	p := &c.topology.single.pools[ordinary]
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiting)
}
