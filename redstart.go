package redstart

import (
	"context"
	"fmt"
	"iter"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/observe"
)

// Client is the connection to a server that the patterns share. [Open] makes one. Its methods are
// safe for concurrent use. A program needs one Client per server.
type Client struct {
	core *core.Core
}

// The patterns reach the connection layer through package clientcore.
var _ = clientcore.Register(func(client any) *core.Core { return client.(*Client).core })

// Open connects to the server that cfg names, reads what the server offers and logs the warnings.
// It waits for the server until ctx ends, at most [Config.CommandTimeout]. With [Config.Lazy] it
// returns without a server, and the first call connects.
//
// An invalid cfg is an error that names the field. Other errors are [ErrUnavailable] and
// [ErrDenied].
func Open(ctx context.Context, cfg Config) (*Client, error) {
	opt, err := cfg.options()
	if err != nil {
		return nil, err
	}
	c, err := core.Open(ctx, opt)
	if err != nil {
		return nil, fmt.Errorf("redstart: open %s: %w", cfg.maskedURL(), err)
	}
	return &Client{c}, nil
}

// Ping sends PING, for readiness checks: one round trip, at most [Config.CommandTimeout]. While the
// circuit breaker of the node is open, Ping fails at once with [ErrUnavailable].
func (c *Client) Ping(ctx context.Context) error {
	if err := c.core.Ping(ctx); err != nil {
		return fmt.Errorf("redstart: ping: %w", err)
	}
	return nil
}

// Close stops the patterns of this client, and ends its goroutines and connections. It returns
// within five seconds, even if the server does not answer (A7). The error names callbacks that
// ignore the end of their context. A second call returns the result of the first.
func (c *Client) Close() error { return c.core.Close() }

// Redis returns a rueidis client for the same servers, for your own commands. The Client owns it:
// do not close it. The first call connects, within [Config.CommandTimeout]. The deadlines and the
// classes of errors of this package do not apply to the calls of the rueidis client.
//
// The error is [ErrUnavailable] or [ErrDenied], or the end of ctx.
func (c *Client) Redis(ctx context.Context) (rueidis.Client, error) {
	client, err := c.core.Foreign(ctx)
	if err != nil {
		return nil, fmt.Errorf("redstart: redis: %w", err)
	}
	return client, nil
}

// Capabilities returns what the server offers, as read when the client connected. It is the zero
// value before the first connection.
func (c *Client) Capabilities() Capabilities { return Capabilities(c.core.Capabilities()) }

// Warnings returns the settings of the server that weaken a guarantee, as read when the client
// connected.
func (c *Client) Warnings() []Warning {
	var all []Warning
	for _, w := range c.core.Warnings() {
		all = append(all, Warning(w))
	}
	return all
}

// Nodes returns the nodes that the client knows now, with the states of their circuit breakers. It
// sends no command.
func (c *Client) Nodes() []NodeStats {
	var all []NodeStats
	for _, n := range c.core.Nodes() {
		all = append(all, NodeStats{Addr: n.Addr, Breaker: BreakerState(n.Breaker), Opened: n.Opened})
	}
	return all
}

// Metrics yields the counters and gauges of the connection and of every pattern of this client. It
// sends no command. Package [observe] describes names and units.
func (c *Client) Metrics() iter.Seq[observe.Metric] {
	return func(yield func(observe.Metric) bool) { c.core.Metrics(yield) }
}
