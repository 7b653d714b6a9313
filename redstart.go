package redstart

import (
	"context"
	"fmt"
	"iter"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/observe"
)

// Client is the connection layer that the patterns share. Use Open. Its methods are safe for concurrent use.
type Client struct {
	core *core.Core
}

// Capabilities are what the server offers beyond what every pattern needs.
type Capabilities = core.Capabilities

// Warning is a setting of the server under which a guarantee is weaker.
type Warning = core.Warning

// NodeStats is one node as its circuit breaker sees it.
type NodeStats = core.NodeStats

// Open connects to the server that cfg names, learns what it can do and logs Warnings. With cfg.Lazy it
// returns without a server, and the first call connects.
//
// Errors: a bad cfg is named by field; ErrUnavailable, ErrDenied.
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

// Ping asks the server for an answer, for readiness checks: one round trip, at most the command timeout. While
// the circuit breaker is open it fails at once.
func (c *Client) Ping(ctx context.Context) error {
	if err := c.core.Ping(ctx); err != nil {
		return fmt.Errorf("redstart: ping: %w", err)
	}
	return nil
}

// Close ends every goroutine and connection within five seconds, also when the server does not answer (A7). Its
// error names callbacks that ignore their context. A second call returns what the first returned.
func (c *Client) Close() error { return c.core.Close() }

// Redis hands out a rueidis client on the same servers, for commands of your own. It is owned by the Client: do not close it.
// It connects when it is first asked for, within the command timeout, and is nil if no server can be reached. Its calls do
// not have the deadlines and error classes of this package.
func (c *Client) Redis() rueidis.Client { return c.core.Foreign() }

// Capabilities returns what the server offers, as learned at connect.
func (c *Client) Capabilities() Capabilities { return c.core.Capabilities() }

// Warnings returns the settings of the server under which a guarantee is weaker, as found at connect.
func (c *Client) Warnings() []Warning { return c.core.Warnings() }

// Nodes returns the nodes known now, with their breakers.
func (c *Client) Nodes() []NodeStats { return c.core.Nodes() }

// Metrics yields the counters of the connection layer and of every pattern on this client. See package observe.
func (c *Client) Metrics() iter.Seq[observe.Metric] {
	return func(yield func(observe.Metric) bool) { c.core.Metrics(yield) }
}

// Core is for Redstart's own packages; its type can change with any release.
func (c *Client) Core() *core.Core { return c.core }
