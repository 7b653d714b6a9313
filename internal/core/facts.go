package core

import (
	"context"

	"github.com/redstart-go/redstart/internal/facts"
	"github.com/redstart-go/redstart/observe"
)

// Capabilities are the features of a server beyond the commands that every pattern needs.
type Capabilities = facts.Capabilities

// Warning is a setting of the server that weakens a guarantee.
type Warning = facts.Warning

// Capabilities returns the features of the servers. Before the first connection, it returns the
// zero Capabilities.
func (c *Core) Capabilities() Capabilities {
	if f := c.facts.Load(); f != nil {
		return f.Capabilities
	}
	return Capabilities{}
}

// Warnings returns the warnings about the servers' settings.
func (c *Core) Warnings() []Warning {
	if f := c.facts.Load(); f != nil {
		return f.Warnings
	}
	return nil
}

// PublishCommand returns the command with which a script publishes to its own slot. On a lazy
// client it may wait for the first connection, until ctx ends or the command timeout.
func (c *Core) PublishCommand(ctx context.Context) string {
	if c.begin(ctx, c.due()) != nil || c.Capabilities().ShardedPubSub {
		return "SPUBLISH" // without a server, the script fails too
	}
	return "PUBLISH"
}

// Publish sends a message to the subscribers of a channel (see [hub.Hub.Subscribe]): one round
// trip, at most once.
func (c *Core) Publish(ctx context.Context, channel, message string) error {
	due := c.due()
	if err := c.begin(ctx, due); err != nil {
		return err
	}
	cmd := WriteAt("", "PUBLISH", channel, message)
	if c.Capabilities().ShardedPubSub {
		cmd = WriteAt(channel, "SPUBLISH", channel, message)
	}
	r := c.request(cmd)
	_, err := c.do(ctx, ordinary, &r, due)
	return err
}

// NodeStats is the state of one node and its circuit breaker.
type NodeStats struct {
	Addr    string
	Breaker BreakerState
	Opened  int64 // how often the breaker opened
}

// Nodes returns the nodes that are known now.
func (c *Core) Nodes() []NodeStats {
	var all []NodeStats
	for _, n := range c.allNodes() {
		b := n.load()
		all = append(all, NodeStats{n.addr, b.state(), b.opened()})
	}
	return all
}

func (c *Core) ownMetrics(yield func(observe.Metric) bool) bool {
	if !yield(observe.Metric{Name: "redstart.calls.timeouts",
		Help: "Calls that got no answer within the command timeout.", Kind: observe.Counter,
		Value: float64(c.timeouts.Load())}) {
		return false
	}
	abandoned := 0
	for _, conn := range c.conns.list() {
		conn.mu.Lock()
		abandoned += conn.abandoned
		conn.mu.Unlock()
	}
	if !yield(observe.Metric{Name: "redstart.calls.abandoned",
		Help: "Calls whose callers left, without an answer yet.", Kind: observe.Gauge, Value: float64(abandoned)}) {
		return false
	}
	for _, n := range c.Nodes() {
		labels := []observe.Label{{Name: "node", Value: n.Addr}}
		if !yield(observe.Metric{Name: "redstart.breaker.open",
			Help: "1 while calls to the node fail at once.", Kind: observe.Gauge, Labels: labels,
			Value: float64(min(n.Breaker, 1))}) ||
			!yield(observe.Metric{Name: "redstart.breaker.opened", Help: "How often the breaker opened.",
				Kind: observe.Counter, Labels: labels, Value: float64(n.Opened)}) {
			return false
		}
	}
	return true
}
