package core

import (
	"cmp"
	"context"
	"errors"
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
	"github.com/redstart-go/redstart/internal/race"
)

const (
	slots         = 16384
	topologyEvery = 5 * time.Second
	topologyFast  = 200 * time.Millisecond // while a breaker is open
)

// topology holds the nodes of a cluster, and the owner of each slot.
type topology struct {
	single *node // the only node outside cluster mode
	seeds  *node // stands for the cluster until its nodes are known
	owners atomic.Pointer[[slots]*node]
	ready  atomic.Pointer[[]*node] // the nodes that own slots, for commands without a key

	questions atomic.Int64 // number of questions so far; the answer to a later question is newer

	mu       sync.Mutex
	nodes    map[string]*node
	retired  []*node // nodes without slots; the next answer closes them
	answered int64   // number of the question whose answer was adopted last
	changed  []func()
	soon     chan struct{}
}

func (c *Core) cluster() bool { return c.opt.Endpoint.Mode == endpoint.Cluster }

// HasSlots reports whether the server is a cluster. Then the keys of a script, and a shard channel,
// belong to one of its nodes.
func (c *Core) HasSlots() bool { return c.cluster() }

// entry returns the node whose breaker stands for the servers before they are known.
func (c *Core) entry() *node { return cmp.Or(c.topology.single, c.topology.seeds) }

// nodeOf returns the node for a request.
func (c *Core) nodeOf(r *request) (*node, error) {
	if n := cmp.Or(c.topology.single, r.to); n != nil {
		return n, nil
	}
	var n *node
	if owners := c.topology.owners.Load(); owners != nil && r.slot >= 0 {
		n = owners[r.slot]
	} else if owners != nil {
		n = c.anyPrimary()
	}
	if n == nil {
		c.requestTopology()
		return nil, fault.Classify(rueidis.ErrNoSlot, false)
	}
	return n, nil
}

// anyPrimary returns a primary for a command without a key. It prefers primaries with a closed
// breaker.
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

// current reports whether a node still owns slots.
func (c *Core) current(n *node) bool {
	switch n {
	case c.topology.single:
		return true
	case c.topology.seeds:
		return c.topology.owners.Load() == nil
	}
	c.topology.mu.Lock()
	defer c.topology.mu.Unlock()
	return c.topology.nodes[n.addr] == n
}

// Owner returns the address of the primary that owns a slot. addr is "" outside cluster mode. known
// is false while the owner is not known.
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

// onTopology registers fn, which is called whenever slots may have moved. fn must not block.
func (c *Core) onTopology(fn func()) {
	c.topology.mu.Lock()
	defer c.topology.mu.Unlock()
	c.topology.changed = append(c.topology.changed, fn)
}

// requestTopology requests a refresh of the slots soon.
func (c *Core) requestTopology() {
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
		if c.facts.Load() != nil && (c.refreshTopology(ctx) != nil || c.anyBreakerOpen()) {
			next = topologyFast
		}
		timer.Reset(next)
	}
}

// refreshTopology asks the cluster which node owns which slot: one round trip, to the node that
// answers first.
func (c *Core) refreshTopology(ctx context.Context) error {
	question := c.topology.questions.Add(1)
	contacts := c.contacts()
	nodes := slices.DeleteFunc(slices.Clone(contacts), func(n *node) bool { return !n.allows() })
	if len(nodes) == 0 {
		return contacts[0].refused()
	}
	ranges, err := race.First(ctx, len(nodes), func(ctx context.Context, i int) ([]slotRange, error) {
		reply, err := c.ask(ctx, nodes[i], "CLUSTER", "SLOTS")
		if err != nil {
			return nil, err
		}
		return parseSlots(&reply, nodes[i].addr)
	})
	if err != nil {
		return err
	}
	c.adoptSlots(ranges, question)
	return nil
}

// contacts returns the nodes to ask: the known nodes in random order, then the seeds.
func (c *Core) contacts() []*node {
	var all []*node
	if c.topology.owners.Load() != nil {
		all = c.allNodes()
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	}
	for _, addr := range c.opt.Endpoint.Addrs {
		if n := c.nodeAt(addr); !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	return all
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
		return []*node{c.topology.seeds}
	}
	c.topology.mu.Lock()
	defer c.topology.mu.Unlock()
	all := make([]*node, 0, len(c.topology.nodes))
	for _, n := range c.topology.nodes {
		all = append(all, n)
	}
	return all
}

// nodeAt returns the node with an address. It makes a new one if the address is not known.
func (c *Core) nodeAt(addr string) *node {
	t := &c.topology
	t.mu.Lock()
	defer t.mu.Unlock()

	n := c.knownOrNew(addr)
	if t.nodes == nil {
		t.nodes = make(map[string]*node)
	}
	t.nodes[addr] = n
	return n
}

// knownOrNew returns the node with an address. A retired node returns with its connections. The
// topology's lock is held.
func (c *Core) knownOrNew(addr string) *node {
	t := &c.topology
	if n := t.nodes[addr]; n != nil {
		return n
	}
	if i := slices.IndexFunc(t.retired, func(n *node) bool { return n.addr == addr }); i >= 0 {
		n := t.retired[i]
		t.retired = slices.Delete(t.retired, i, i+1)
		return n
	}
	return c.newNode(addr)
}

// errRetired ends the connections of a node that has lost its slots.
var errRetired = fmt.Errorf("%w: the node has no slots any more", errClosed)

// adoptSlots publishes the answer to a question, unless a later question was answered first. The
// next answer closes the nodes without slots. Until then, their calls have time to end.
func (c *Core) adoptSlots(ranges []slotRange, question int64) {
	closing, changed := c.replaceSlots(ranges, question)
	for _, n := range closing {
		n.close(errRetired)
	}
	for _, fn := range changed {
		fn()
	}
}

// replaceSlots returns the nodes to close, and the functions to call because slots may have moved.
func (c *Core) replaceSlots(ranges []slotRange, question int64) (closing []*node, changed []func()) {
	t := &c.topology
	t.mu.Lock()
	defer t.mu.Unlock()
	if question < t.answered {
		return nil, nil
	}
	t.answered = question

	owners := new([slots]*node)
	alive := make(map[string]*node)
	for _, r := range ranges {
		n := alive[r.addr]
		if n == nil {
			n = c.knownOrNew(r.addr)
			alive[r.addr] = n
		}
		for s := r.from; s <= r.to; s++ {
			owners[s] = n
		}
	}
	closing, t.retired = t.retired, nil
	for addr, n := range t.nodes {
		if alive[addr] == nil {
			t.retired = append(t.retired, n)
		}
	}
	t.nodes = alive

	if old := t.owners.Load(); old != nil && *old == *owners {
		return closing, nil
	}
	ready := slices.Collect(maps.Values(alive))
	t.ready.Store(&ready)
	t.owners.Store(owners)
	return closing, t.changed
}

// slotRange is a range of slots, both ends included, and the address of their primary.
type slotRange struct {
	from, to int64
	addr     string
}

// parseSlots reads a reply to CLUSTER SLOTS. asked is the address of the node that sent it.
func parseSlots(reply *Reply, asked string) (ranges []slotRange, err error) {
	all, err := reply.ToArray()
	if err != nil {
		return nil, err
	}
	for _, r := range all {
		parts, err := r.ToArray()
		if err != nil || len(parts) < 3 {
			return nil, fmt.Errorf("CLUSTER SLOTS: a range of %d parts: %w", len(parts), err)
		}
		from, err1 := parts[0].AsInt64()
		to, err2 := parts[1].AsInt64()
		primary, err3 := parts[2].ToArray()
		if err1 != nil || err2 != nil || err3 != nil || len(primary) < 2 || from < 0 || to >= slots {
			return nil, errors.New("CLUSTER SLOTS: malformed range")
		}
		host, _ := primary[0].ToString()
		port, err := primary[1].AsInt64()
		if err != nil {
			return nil, err
		}
		if host == "" || host == "?" { // the asked node does not know its own name
			if host, _, err = net.SplitHostPort(asked); err != nil {
				return nil, err
			}
		}
		ranges = append(ranges, slotRange{from, to, net.JoinHostPort(host, fmt.Sprint(port))})
	}
	return ranges, nil
}
