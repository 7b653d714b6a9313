// Package core is the call layer under all patterns. It provides keys, calls that keep their
// deadline, and a circuit breaker for each node. It also delivers the servers' pushes and owns the
// goroutines of the patterns. A pattern gets its [Core] from its redstart.Client.
package core

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/clock"
	"github.com/redstart-go/redstart/internal/dial"
	"github.com/redstart-go/redstart/internal/endpoint"
	"github.com/redstart-go/redstart/internal/facts"
	"github.com/redstart-go/redstart/internal/hub"
	"github.com/redstart-go/redstart/internal/keys"
	"github.com/redstart-go/redstart/internal/lifecycle"
	"github.com/redstart-go/redstart/internal/logqueue"
	"github.com/redstart-go/redstart/internal/sentinel"
	"github.com/redstart-go/redstart/internal/tick"
	"github.com/redstart-go/redstart/observe"
)

// Options are the settings of a validated redstart.Config.
type Options struct {
	Endpoint endpoint.Endpoint
	// Protocol is 2 or 3; 0 tries 3, and uses 2 if the server refuses HELLO.
	Protocol int
	// Assume replaces the questions about the server's features if its Server is not empty.
	Assume         Capabilities
	ClientName     string // first part of the connections' names; never empty
	Namespace      string
	PoolSize       int
	CommandTimeout time.Duration
	TLS            *tls.Config
	// Dialer replaces the network, if not nil.
	Dialer      func(ctx context.Context, network, addr string) (net.Conn, error)
	Credentials func(ctx context.Context) (rueidis.AuthCredentials, error)
	Logger      *slog.Logger // never nil
	Observer    observe.Observer
	Lazy        bool
}

// Core holds the connections of one client. Its methods are safe for concurrent use.
type Core struct {
	opt      Options
	clock    *tick.Clock
	source   *clock.Source // nil outside of tests
	decide   *clock.Coarse
	group    *lifecycle.Group
	dialer   dial.Dialer
	conns    conns
	large    largeKeys
	reading  atomic.Int32 // calls that use a connection for long replies
	calls    sync.Pool    // of *call
	topology topology
	hub      *hub.Hub
	recorder observe.Recorder // the Observer, if it is one; or nil
	timeouts atomic.Int64
	notices  logqueue.Limit
	logs     logqueue.Queue

	// clients of the client library: for blocking reads and Pub/Sub, and for users
	blocking, foreign *foreignClient
	facts             atomic.Pointer[facts.Facts]
	agreed            agreed // with the server, in the last handshake
	credentials       credentials
	starting          starting
	changed           chan struct{} // holds one signal: a server may have changed
	sentinels         sentinel.Sentinels
	finding           chan struct{} // holds one token: its holder asks the sentinels

	mu      sync.Mutex
	closers []*func(ctx context.Context) error
	metrics []*metricSource
	shared  map[string]any

	closing sync.Once
	result  error
}

// The time limits of the steps of Close. Together they are less than five seconds.
const (
	closePatterns = 2500 * time.Millisecond
	closeGroup    = 1500 * time.Millisecond
	closeForeign  = 400 * time.Millisecond
	closeLogs     = 300 * time.Millisecond
)

// Open connects to the servers. With Lazy, the first call connects.
func Open(ctx context.Context, opt Options) (*Core, error) {
	c := &Core{opt: opt, group: lifecycle.New(), changed: make(chan struct{}, 1)}
	c.opt.Logger = c.logs.Logger(opt.Logger)
	c.recorder, _ = opt.Observer.(observe.Recorder)
	c.dialer = dial.Dialer{Network: "tcp", KeepAlive: keepAlive, User: opt.Dialer}
	if opt.Endpoint.Network == "unix" {
		c.dialer.Network = "unix"
	}
	if opt.Endpoint.TLS {
		c.dialer.TLS = cmp.Or(opt.TLS, &tls.Config{MinVersion: tls.VersionTLS12})
	}

	c.large.seed = maphash.MakeSeed()
	c.topology.soon = make(chan struct{}, 1)
	c.hub = hub.New((*pubsub)(c))
	c.blocking = &foreignClient{core: c, name: "blocking", more: 2}
	c.foreign = &foreignClient{core: c, name: "redis"}

	c.clock = tick.New(opt.CommandTimeout, c.conns.tick)
	c.source = clock.Of(opt.Endpoint.Addrs)
	c.decide = clock.NewCoarse(c.clock, c.source)

	switch addrs := strings.Join(opt.Endpoint.Addrs, ","); opt.Endpoint.Mode {
	case endpoint.Cluster:
		c.topology.seeds = c.newNode(addrs)
		c.group.Go("watch over the topology", c.watchTopology)
	case endpoint.Sentinel:
		e := &opt.Endpoint
		c.finding = make(chan struct{}, 1)
		c.sentinels.Addrs, c.sentinels.MasterSet, c.sentinels.Timeout, c.sentinels.Dial = e.Addrs,
			e.MasterSet, opt.CommandTimeout, c.dialer.Dial
		c.sentinels.Username, c.sentinels.Password = e.SentinelUsername, e.SentinelPassword
		c.topology.single = c.newNode(addrs)
		c.topology.single.primary.Store(new(string))
		c.group.Go("watch over the sentinels", c.watchSentinels)
	default:
		c.topology.single = c.newNode(addrs)
	}

	c.group.Go("watch over the connections", c.watchConnections)
	c.group.Go("watch over the servers", c.watchServers)

	if err := c.start(ctx, c.due()); err != nil && !opt.Lazy {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Foreign returns a client of the client library for the user's commands. The first call opens it,
// within the command timeout.
func (c *Core) Foreign(ctx context.Context) (rueidis.Client, error) {
	return c.foreign.get(ctx, c.due())
}

// Blocking returns the client for blocking reads and dedicated connections. It has PoolSize
// connections per node.
func (c *Core) Blocking(ctx context.Context) (rueidis.Client, error) {
	return c.blocking.get(ctx, c.due())
}

// Shared returns one value for all callers with the same name. The first call makes the value,
// which lives as long as the client.
func (c *Core) Shared(name string, make func() any) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shared == nil {
		c.shared = map[string]any{}
	}
	if c.shared[name] == nil {
		c.shared[name] = make()
	}
	return c.shared[name]
}

// Keys returns the key space of one named instance of a pattern.
func (c *Core) Keys(pattern, name string) (keys.Space, error) {
	return keys.New(c.opt.Namespace, pattern, name)
}

// Namespace returns the first part of each key.
func (c *Core) Namespace() string { return c.opt.Namespace }

// Hub returns the hub, which delivers invalidations of tracked keys and Pub/Sub messages.
func (c *Core) Hub() *hub.Hub { return c.hub }

// Clock returns the coarse clock for the expiry of what a pattern keeps in memory.
func (c *Core) Clock() *clock.Coarse { return c.decide }

// Time returns the time by which a pattern decides what the server's time decides too: leases,
// limits, due events. It may be nil, which is the time of the machine.
func (c *Core) Time() *clock.Source { return c.source }

// Ticks returns the coarse clock for the deadlines of calls.
func (c *Core) Ticks() *tick.Clock { return c.clock }

// Group returns the group of the patterns' goroutines. Close ends its context and waits for them.
func (c *Core) Group() *lifecycle.Group { return c.group }

// Logger returns the client's logger, never nil. The logger does not wait for the user's handler,
// which receives the records from a queue.
func (c *Core) Logger() *slog.Logger { return c.opt.Logger }

// OnClose registers fn, which Close calls first, while calls still work. Patterns use it to release
// what they hold. remove unregisters fn for every later Close.
func (c *Core) OnClose(fn func(ctx context.Context) error) (remove func()) {
	c.mu.Lock()
	defer c.mu.Unlock()

	entry := &fn
	c.closers = append(c.closers, entry)

	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if i := slices.Index(c.closers, entry); i >= 0 {
			c.closers = slices.Delete(slices.Clone(c.closers), i, i+1)
		}
	}
}

// Close ends all goroutines and connections within five seconds (A7). A second call waits for the
// first and returns its result.
func (c *Core) Close() error {
	c.closing.Do(func() { c.result = c.close() })
	return c.result
}

func (c *Core) close() error {
	c.mu.Lock()
	closers := c.closers
	c.mu.Unlock()

	var errs []error
	ctx, cancel := context.WithTimeout(context.Background(), closePatterns)
	defer cancel()

	var wg sync.WaitGroup
	results := make([]error, len(closers))
	for i, fn := range closers {
		wg.Go(func() { results[i] = (*fn)(ctx) })
	}

	if !waitUntil(&wg, ctx.Done()) {
		errs = append(errs, fmt.Errorf("a pattern did not release what it holds within %v", closePatterns))
	} else {
		errs = append(errs, results...)
	}

	closed := make(chan error, 2)
	for _, f := range []*foreignClient{c.blocking, c.foreign} {
		go func() { closed <- f.close(closeForeign) }()
	}

	c.conns.end()
	errs = append(errs, c.group.Close(closeGroup))
	for range cap(closed) {
		errs = append(errs, <-closed)
	}

	c.clock.Close()
	errs = append(errs, c.logs.Close(closeLogs))

	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("redstart: close: %w", err)
	}
	return nil
}

func waitUntil(wg *sync.WaitGroup, end <-chan struct{}) bool {
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
		return true
	case <-end:
		return false
	}
}

// watchConnections checks idle connections, renews credentials, and closes unused connections for
// long replies.
func (c *Core) watchConnections(ctx context.Context) {
	ticker := time.NewTicker(keepAlive / 2)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, conn := range c.conns.list() {
			if conn.renewal.due() {
				c.group.Go("new credentials", conn.authenticate)
			}
			conn.probe(c.clock.Exact())
		}
		c.blocking.renewLogins()
		for _, n := range c.allNodes() {
			for k := range n.pools {
				n.pools[k].trim(c.clock.Exact())
			}
		}
	}
}
