package core

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/endpoint"
	"github.com/redstart-go/redstart/internal/fault"
)

// learn asks the servers what they are, before a client is used for anything else.
func (c *Core) learn(ctx context.Context, client rueidis.Client) error {
	nodes := []rueidis.Client{client}
	if c.cluster() {
		if err := c.refreshTopology(ctx, client); err != nil {
			return err
		}
		nodes = nodes[:0]
		all := client.Nodes()
		for _, n := range *c.topology.ready.Load() {
			if one := all[n.addr]; one != nil && n.allows() {
				nodes = append(nodes, one)
			}
		}
	}
	found := make([]*facts, len(nodes))
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, one := range nodes {
		wg.Go(func() { found[i], errs[i] = c.learnFrom(ctx, one) })
	}
	wg.Wait()
	var f *facts
	for _, one := range found {
		f = f.and(one)
	}
	if f == nil {
		return cmp.Or(errors.Join(errs...), fault.Classify(rueidis.ErrNoSlot, false))
	}
	c.adopt(f)
	return nil
}

// learnFrom reads INFO, and tries whether tracking is known.
func (c *Core) learnFrom(ctx context.Context, node rueidis.Client) (*facts, error) {
	r, err := c.ask(ctx, node, node.B().Info().Build())
	if err != nil {
		return nil, err
	}
	msg, err := ReplyOf(r, false)
	if err != nil {
		return nil, err
	}
	text, err := msg.ToString()
	if err != nil {
		return nil, fault.Classify(err, false)
	}
	info := parseInfo(text)
	if c.opt.Endpoint.Mode != endpoint.Cluster && info["cluster_enabled"] == "1" {
		return nil, errors.New("the server is part of a cluster: use a redis+cluster:// URL")
	}
	f := &facts{capabilities: capabilitiesOf(info)}
	if f.capabilities.Server != "embedded" {
		r, err := c.ask(ctx, node, node.B().ClientTracking().Off().Build())
		if err == nil {
			err = r.NonRedisError()
		}
		if err != nil {
			return nil, fault.Foreign(err, false)
		}
		f.capabilities.Tracking = r.Error() == nil
	}
	f.warnings = warningsOf(info, f.capabilities)
	return f, nil
}

// and is what two nodes of a cluster have in common, and the warnings of both.
func (f *facts) and(g *facts) *facts {
	if f == nil || g == nil {
		return cmp.Or(f, g)
	}
	a, b := f.capabilities, g.capabilities
	both := Capabilities{
		Server: a.Server, Version: a.Version,
		Tracking:      a.Tracking && b.Tracking,
		ShardedPubSub: a.ShardedPubSub && b.ShardedPubSub,
		SetIfEqual:    a.SetIfEqual && b.SetIfEqual,
		StreamClaim:   a.StreamClaim && b.StreamClaim,
		WaitAOF:       a.WaitAOF && b.WaitAOF,
	}
	if older(b.Version, a.Version) {
		both.Server, both.Version = b.Server, b.Version
	}
	warnings := slices.Clone(f.warnings)
	for _, w := range g.warnings {
		if !slices.ContainsFunc(warnings, func(o Warning) bool { return o.Code == w.Code }) {
			warnings = append(warnings, w)
		}
	}
	return &facts{both, warnings}
}

// adopt publishes facts, and says in the log what is new in them.
func (c *Core) adopt(f *facts) {
	old := c.facts.Swap(f)
	for _, w := range f.warnings {
		if old == nil || !slices.Contains(old.warnings, w) {
			c.opt.Logger.Warn("redstart: "+w.Text, "code", w.Code)
		}
	}
	if !f.capabilities.Tracking && (old == nil || old.capabilities.Tracking) {
		c.opt.Logger.Info("redstart: the server does not push invalidations: near caches are off", "server", f.capabilities.Server)
	}
}

// relearn asks for another look at the servers: one has been connected to that may have been
// upgraded, or have taken over from another.
func (c *Core) relearn(l *link) {
	if l != c.main || l.client.Load() == nil { // while it is opened it is asked anyway
		return
	}
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// relearnEvery is how often the servers are asked at most.
const relearnEvery = time.Second

func (c *Core) watchServers(ctx context.Context) {
	timer := time.NewTimer(relearnEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.changed:
		}
		if client := c.main.client.Load(); client != nil {
			_ = c.learn(ctx, *client) // what was known stands, and the next connection asks again
		}
		timer.Reset(relearnEvery)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
	}
}

// known is Capabilities once a server has told them.
func (c *Core) known(ctx context.Context, due time.Duration) (Capabilities, error) {
	f := c.facts.Load()
	if f == nil {
		n := c.topology.single
		if c.cluster() {
			n = &c.topology.seeds
		}
		if _, err := c.admit(ctx, c.main, n, due); err != nil {
			return Capabilities{}, err
		}
		f = c.facts.Load()
	}
	return f.capabilities, nil
}

// trackedLink is the tracked link where the server pushes invalidations, else the main one.
func (c *Core) trackedLink(ctx context.Context, due time.Duration) (*link, error) {
	known, err := c.known(ctx, due)
	if err != nil {
		return nil, err
	}
	if known.Tracking {
		return c.tracked, nil
	}
	return c.main, nil
}
