package core

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/endpoint"
	"github.com/redstart-go/redstart/internal/facts"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/race"
)

// starting holds the first attempt to learn about the servers. All calls that need it wait for it.
type starting struct {
	mu      sync.Mutex
	attempt *attempt
}

type attempt struct {
	done chan struct{}
	err  error
}

// start returns when the servers are known. It waits until ctx ends or the call is due.
func (c *Core) start(ctx context.Context, due time.Duration) error {
	n := c.entry()
	if !n.allows() {
		return n.refused()
	}
	s := &c.starting
	s.mu.Lock()
	if c.facts.Load() != nil {
		s.mu.Unlock()
		return nil
	}
	a := s.attempt
	if a == nil {
		a = &attempt{done: make(chan struct{})}
		if !c.group.Go("first connection", func(ctx context.Context) { c.attempt(ctx, a) }) {
			s.mu.Unlock()
			return fault.Classify(errClosed, false)
		}
		s.attempt = a
	}
	s.mu.Unlock()

	select {
	case <-a.done:
		return a.err
	case <-ctx.Done():
		return fault.Classify(contextError(ctx), false)
	case <-c.clock.At(due):
		return fault.Classify(fmt.Errorf("no connection to %s within %v: %w", n.address(),
			c.opt.CommandTimeout, errSilent), false)
	}
}

func (c *Core) attempt(ctx context.Context, a *attempt) {
	began := c.clock.Now()
	a.err = fault.Foreign(c.learn(ctx), false)
	switch { // before the callers learn of the failure: their next calls need the breaker
	case a.err == nil || !c.cluster() || ctx.Err() != nil || !errors.Is(a.err, fault.ErrUnavailable):
		// outside clusters, the line has already counted the failure
	case c.clock.Now()-began < c.opt.CommandTimeout/2:
		c.lost(c.topology.seeds, began, a.err)
	default:
		c.silent(c.topology.seeds, began, a.err)
	}

	c.starting.mu.Lock()
	c.starting.attempt = nil
	c.starting.mu.Unlock()
	close(a.done)
}

// learn asks the servers for their features and settings. It runs before the first call.
func (c *Core) learn(ctx context.Context) error {
	nodes := []*node{c.topology.single}
	if c.cluster() {
		if err := c.refreshTopology(ctx); err != nil {
			return err
		}
		nodes = slices.DeleteFunc(slices.Clone(*c.topology.ready.Load()), func(n *node) bool { return !n.allows() })
	}

	f, err := c.learnFromAll(ctx, nodes)
	if err != nil {
		return err
	}
	c.adopt(f)
	return nil
}

// learnFromAll asks several nodes at the same time. After the first answer, the other nodes have a
// short time left. A frozen node is asked again after its next connection.
func (c *Core) learnFromAll(ctx context.Context, nodes []*node) (f *facts.Facts, err error) {
	type answer struct {
		facts *facts.Facts
		err   error
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()

	answers := make(chan answer, len(nodes))
	for _, n := range nodes {
		wg.Go(func() {
			f, err := c.learnFrom(ctx, n)
			answers <- answer{f, err}
		})
	}

	late := time.NewTimer(forever)
	defer late.Stop()

	var errs []error
	for range nodes {
		select {
		case a := <-answers:
			if a.err != nil {
				errs = append(errs, a.err)
				continue
			}
			f = f.And(a.facts)
			late.Reset(4 * race.Stagger)
		case <-late.C:
			return f, nil
		}
	}
	if f == nil {
		return nil, cmp.Or(errors.Join(errs...), fault.Classify(rueidis.ErrNoSlot, false))
	}
	return f, nil
}

// learnFrom finds out what a server offers. What the server refuses to state becomes a warning.
func (c *Core) learnFrom(ctx context.Context, n *node) (*facts.Facts, error) {
	// a refused handshake is no refused INFO
	if _, err := n.lines[ordinary].get(ctx, c.due()); err != nil {
		return nil, err
	}
	f, err := c.describe(ctx, n)
	if err != nil {
		return nil, err
	}
	if c.agreed.resp2.Load() {
		f.Capabilities.Tracking = false
		f.Add("protocol", "the connection uses RESP2: near caches are off, and waiters poll; "+
			"let HELLO 3 pass, if the server has RESP3")
		return f, nil
	}
	if c.opt.Assume.Server != "" {
		return f, nil
	}

	// CLIENT TRACKING shows whether the server has it.
	_, err = c.ask(ctx, n, "CLIENT", "TRACKING", "OFF")
	if err != nil && fault.Text(err) == "" {
		return nil, err
	}
	f.Capabilities.Tracking = err == nil
	if err != nil {
		f.Add("tracking", "CLIENT TRACKING is refused: near caches are off, and waiters poll; "+
			"give the user +client|tracking, if the server has it")
	}
	return f, nil
}

// describe returns the facts that the server states about itself. Without INFO, the reply to HELLO
// has its name and version.
func (c *Core) describe(ctx context.Context, n *node) (*facts.Facts, error) {
	reply, err := Reply{}, error(nil)
	if c.opt.Assume.Server != "" {
		// the first connection still shows the protocol, and whether the server answers
		_, err = c.ask(ctx, n, "PING")
		return facts.Assumed(c.opt.Assume), err
	}
	if reply, err = c.ask(ctx, n, "INFO"); err != nil {
		if !refusesInfo(err) {
			return nil, err
		}
		return c.fromHello(), nil
	}

	text, err := reply.ToString()
	if err != nil { // an odd server: INFO has another type
		return c.fromHello(), nil //nolint:nilerr // HELLO has named the server
	}
	f, inCluster := facts.Parse(text)
	if c.opt.Endpoint.Mode != endpoint.Cluster && inCluster {
		return nil, errors.New("the server is part of a cluster: use a redis+cluster:// URL")
	}
	return f, nil
}

// fromHello returns the facts of a server without a usable INFO.
func (c *Core) fromHello() *facts.Facts {
	about := c.agreed.hello.Load()
	if about == nil {
		about = &hello{}
	}
	return facts.FromHello(about.server, about.version)
}

// refusesInfo reports whether the server answered INFO, and the answer is final: not NOAUTH and not
// LOADING.
func refusesInfo(err error) bool {
	return fault.Code(err) == "NOPERM" || fault.Text(err) != "" && !errors.Is(err, fault.ErrDenied) &&
		!errors.Is(err, fault.ErrUnavailable)
}

// adopt publishes facts and logs what is new in them.
func (c *Core) adopt(f *facts.Facts) {
	old := c.facts.Swap(f)
	for _, w := range f.Warnings {
		if old == nil || !slices.Contains(old.Warnings, w) {
			c.opt.Logger.Warn("redstart: a server setting weakens a guarantee", "code", w.Code, "warning", w.Text)
		}
	}
	if !f.Capabilities.Tracking && (old == nil || old.Capabilities.Tracking) {
		c.opt.Logger.Info("redstart: the server does not push invalidations: near caches are off", "server",
			f.Capabilities.Server)
	}
}

// relearn requests new facts from the servers. A server may have been upgraded or replaced before
// the last connection.
func (c *Core) relearn() {
	if c.facts.Load() == nil { // Open asks the servers anyway
		return
	}
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// relearnEvery is the shortest time between two requests for facts.
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
		_ = c.learn(ctx) // after a failure, the old facts stay until the next connection
		timer.Reset(relearnEvery)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
	}
}
