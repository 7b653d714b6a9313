package core

import (
	"context"
	"fmt"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/hub"
	"github.com/redstart-go/redstart/internal/keys"
)

// pubsub is the [Core] in its role as [hub.Source].
type pubsub Core

var _ hub.Source = (*pubsub)(nil)

func (p *pubsub) core() *Core { return (*Core)(p) }

func (p *pubsub) Dedicate(ctx context.Context, addr string) (rueidis.DedicatedClient, func(), error) {
	c := p.core()
	// waits until it is known whether channels are sharded
	if err := c.begin(ctx, c.due()); err != nil {
		return nil, nil, err
	}
	client, err := c.blocking.get(ctx, c.due())
	if err != nil {
		return nil, nil, err
	}
	if addr != "" {
		if client = client.Nodes()[addr]; client == nil {
			return nil, nil, fault.Classify(fmt.Errorf("%s is not in the cluster", addr), false)
		}
	}
	conn, back := client.Dedicate()
	done := c.blocking.lend(conn, addr)
	return conn, func() { done(); conn.Close(); back() }, nil
}

func (p *pubsub) Route(channel string) (string, bool) {
	return p.core().Owner(keys.Slot(channel))
}

func (p *pubsub) Sharded() bool { return p.core().Capabilities().ShardedPubSub }

func (p *pubsub) OnRoute(fn func()) { p.core().onTopology(fn) }

func (p *pubsub) Reroute() {
	if p.core().cluster() {
		p.core().requestTopology()
	}
}

func (p *pubsub) Done() <-chan struct{} { return p.core().group.Context().Done() }

func (p *pubsub) Go(name string, fn func(ctx context.Context)) bool {
	return p.core().group.Go(name, fn)
}
