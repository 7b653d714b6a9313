package core

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/endpoint"
	"github.com/redstart-go/redstart/internal/fault"
)

const (
	slots         = 16384
	topologyEvery = 5 * time.Second
	topologyFast  = 200 * time.Millisecond // while a breaker is open
)

// topology knows which node owns a slot. The client library routes by its own map; this
// one is for breakers and for shard channels, and may lag behind for a moment.
type topology struct {
	single *node // the one node outside cluster mode
	seeds  node  // stands for the cluster until its nodes are known
	owners atomic.Pointer[[slots]*node]
	ready  atomic.Pointer[[]*node] // the nodes that own slots, for commands without a key

	mu      sync.Mutex
	nodes   map[string]*node
	changed []func()
	soon    chan struct{}
}

func (c *Core) cluster() bool { return c.opt.Endpoint.Mode == endpoint.Cluster }

// node is where a command goes, or nil if that is not known.
func (c *Core) node(cmd rueidis.Completed) *node {
	if c.topology.single != nil {
		return c.topology.single
	}
	owners := c.topology.owners.Load()
	switch {
	case owners == nil:
		return &c.topology.seeds
	case cmd.Slot() < slots:
		return owners[cmd.Slot()]
	}
	return c.anyPrimary()
}

// anyPrimary is a primary for a command without a key, one behind a closed breaker if there is one.
// The client library would take any node, a dead replica too.
func (c *Core) anyPrimary() *node {
	all := *c.topology.ready.Load()
	if len(all) == 0 {
		return nil
	}
	from := rand.IntN(len(all))
	for i := range all {
		if n := all[(from+i)%len(all)]; n.allows() {
			return n
		}
	}
	return all[from]
}

// shortcut is a client for the one node of a job: for commands without a key, and for as long after slots
// moved there as the client library may still route by its older map; else nil.
func (c *Core) shortcut(client rueidis.Client, j job, n *node) rueidis.Client {
	if n == nil || n == c.topology.single || n == &c.topology.seeds {
		return nil
	}
	if at := n.adopted.Load(); at != 0 && c.clock.Now()-time.Duration(at) <= topologyEvery || j.keyless() {
		return client.Nodes()[n.addr]
	}
	return nil
}

// current reports whether a node still owns slots.
func (c *Core) current(n *node) bool {
	switch n {
	case c.topology.single:
		return true
	case &c.topology.seeds:
		return c.topology.owners.Load() == nil
	}
	c.topology.mu.Lock()
	defer c.topology.mu.Unlock()
	return c.topology.nodes[n.addr] == n
}

// Owner is the address of the primary that owns a slot: "" outside cluster
// mode, and false while it is not known.
func (c *Core) Owner(slot uint16) (addr string, known bool) {
	if c.topology.single != nil {
		return "", true
	}
	owners := c.topology.owners.Load()
	if owners == nil || owners[slot%slots] == nil {
		return "", false
	}
	return owners[slot%slots].addr, true
}

// OnTopology has fn called whenever slots may have moved. fn must not block.
func (c *Core) OnTopology(fn func()) {
	c.topology.mu.Lock()
	defer c.topology.mu.Unlock()
	c.topology.changed = append(c.topology.changed, fn)
}

// RefreshTopology asks for a look at the slots soon.
func (c *Core) RefreshTopology() {
	select {
	case c.topology.soon <- struct{}{}:
	default:
	}
}

func (c *Core) watchTopology(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-c.topology.soon:
		}
		next := topologyEvery
		if client := c.main.client.Load(); client != nil && (c.refreshTopology(ctx, *client) != nil || c.anyBreakerOpen()) {
			next = topologyFast
		}
		timer.Reset(next)
	}
}

// refreshTopology asks the cluster who owns which slot: one round trip, to any node that answers.
func (c *Core) refreshTopology(ctx context.Context, client rueidis.Client) error {
	last := fault.Classify(rueidis.ErrNoAddr, false)
	for addr, one := range client.Nodes() {
		if n := c.nodeAt(addr); n != nil && !n.allows() {
			continue
		}
		o, err := c.ask(ctx, one, one.B().ClusterSlots().Build())
		if err != nil {
			last = err
			continue
		}
		msg, err := o.ToMessage()
		if err != nil {
			last = err
			continue
		}
		owners, err := parseSlots(msg, addr, c.topology.at)
		if err != nil {
			last = err
			continue
		}
		c.topology.adopt(owners, c.clock.Now())
		return nil
	}
	return last
}

func (c *Core) nodeAt(addr string) *node {
	c.topology.mu.Lock()
	defer c.topology.mu.Unlock()
	return c.topology.nodes[addr]
}

func (c *Core) anyBreakerOpen() bool {
	for _, n := range c.allNodes() {
		if !n.allows() {
			return true
		}
	}
	return false
}

func (c *Core) allNodes() []*node {
	if n := c.topology.single; n != nil {
		return []*node{n}
	}
	if c.topology.owners.Load() == nil {
		return []*node{&c.topology.seeds}
	}
	c.topology.mu.Lock()
	defer c.topology.mu.Unlock()
	all := make([]*node, 0, len(c.topology.nodes))
	for _, n := range c.topology.nodes {
		all = append(all, n)
	}
	return all
}

// at returns the node with an address, new or known.
func (t *topology) at(addr string) *node {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.nodes[addr]
	if n == nil {
		if t.nodes == nil {
			t.nodes = make(map[string]*node)
		}
		n = &node{addr: addr}
		t.nodes[addr] = n
	}
	return n
}

func (t *topology) adopt(owners *[slots]*node, now time.Duration) {
	old := t.owners.Load()
	if old != nil && *old == *owners {
		return
	}
	alive := make(map[string]*node)
	for slot, n := range owners {
		if n == nil {
			continue
		}
		alive[n.addr] = n
		if old != nil && old[slot] != n {
			n.adopted.Store(int64(now))
		}
	}
	t.mu.Lock()
	t.nodes = alive
	changed := t.changed
	t.mu.Unlock()
	ready := slices.Collect(maps.Values(alive))
	t.ready.Store(&ready)
	t.owners.Store(owners)
	for _, fn := range changed {
		fn()
	}
}

func parseSlots(msg rueidis.RedisMessage, asked string, at func(string) *node) (*[slots]*node, error) {
	ranges, err := msg.ToArray()
	if err != nil {
		return nil, err
	}
	owners := new([slots]*node)
	for _, r := range ranges {
		parts, err := r.ToArray()
		if err != nil || len(parts) < 3 {
			return nil, fmt.Errorf("CLUSTER SLOTS: a range of %d parts: %w", len(parts), err)
		}
		from, err1 := parts[0].AsInt64()
		to, err2 := parts[1].AsInt64()
		primary, err3 := parts[2].ToArray()
		if err1 != nil || err2 != nil || err3 != nil || len(primary) < 2 || from < 0 || to >= slots {
			return nil, fmt.Errorf("CLUSTER SLOTS: an unreadable range")
		}
		host, _ := primary[0].ToString()
		port, err := primary[1].AsInt64()
		if err != nil {
			return nil, err
		}
		if host == "" || host == "?" { // the node that was asked does not know its own name
			if host, _, err = net.SplitHostPort(asked); err != nil {
				return nil, err
			}
		}
		n := at(net.JoinHostPort(host, fmt.Sprint(port)))
		for s := from; s <= to; s++ {
			owners[s] = n
		}
	}
	return owners, nil
}
