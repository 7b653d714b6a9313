// Package core is what the patterns stand on: keys, calls that keep their deadline, a
// circuit breaker per node, pushes from the server, and the goroutines behind them.
// A pattern gets its Core from redstart.Client.
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

// Options are a validated redstart.Config.
type Options struct {
	Endpoint       endpoint.Endpoint
	Namespace      string
	PoolSize       int
	CommandTimeout time.Duration
	TLS            *tls.Config
	Dialer         func(ctx context.Context, network, addr string) (net.Conn, error) // nil: the network
	Credentials    func(ctx context.Context) (rueidis.AuthCredentials, error)
	Logger         *slog.Logger // never nil
	Observer       observe.Observer
	Lazy           bool
}

// Core holds the connections of one client. Its methods are safe for concurrent use.
type Core struct {
	opt      Options
	clock    *tick.Clock
	group    *lifecycle.Group
	dialer   dial.Dialer
	conns    conns
	large    largeKeys
	calls    sync.Pool // of *call
	topology topology
	hub      *hub.Hub
	timeouts atomic.Int64
	notices  logqueue.Limit
	logs     logqueue.Queue

	blocking, foreign *link // the client library's: for blocking reads and Pub/Sub, and for users
	facts             atomic.Pointer[facts.Facts]
	starting          starting
	changed           chan struct{} // holds one: a server may be another one now
	sentinels         sentinel.Sentinels
	finding           chan struct{} // holds one: who asks the sentinels

	mu      sync.Mutex
	closers []*func(ctx context.Context) error
	metrics []*metricSource
	shared  map[string]any

	closing sync.Once
	result  error
}

// The parts of Close, which together take less than five seconds.
const (
	closePatterns = 2500 * time.Millisecond
	closeGroup    = 1500 * time.Millisecond
	closeLink     = 400 * time.Millisecond
	closeLogs     = 300 * time.Millisecond
)

// Open connects. With Lazy it only prepares: the first call connects.
func Open(ctx context.Context, opt Options) (*Core, error) {
	c := &Core{opt: opt, group: lifecycle.New(), changed: make(chan struct{}, 1)}
	c.opt.Logger = c.logs.Logger(opt.Logger)
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
	c.blocking = &link{core: c, name: "blocking", more: 2}
	c.foreign = &link{core: c, name: "redis"}
	c.clock = tick.New(opt.CommandTimeout, c.conns.tick)
	switch addrs := strings.Join(opt.Endpoint.Addrs, ","); opt.Endpoint.Mode {
	case endpoint.Cluster:
		c.topology.seeds = c.newNode(addrs)
		c.group.Go("watch over the topology", c.watchTopology)
	case endpoint.Sentinel:
		e := &opt.Endpoint
		c.finding = make(chan struct{}, 1)
		c.sentinels.Addrs, c.sentinels.MasterSet, c.sentinels.Timeout, c.sentinels.Dial = e.Addrs, e.MasterSet, opt.CommandTimeout, c.dialer.Dial
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

// Foreign is a client of the client library for commands of the user, opened when it is first asked for; nil if no server
// can be reached within the command timeout.
func (c *Core) Foreign() rueidis.Client {
	client, err := c.foreign.get(context.Background(), c.due())
	if err != nil {
		return nil
	}
	return client
}

// Blocking is the client for blocking reads and dedicated connections: PoolSize connections per node.
func (c *Core) Blocking(ctx context.Context) (rueidis.Client, error) {
	return c.blocking.get(ctx, c.due())
}

// Shared is what everybody who asks for it by this name gets, for as long as the client lives: what make returned to the first.
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

// Keys is the key space of one named instance of a pattern.
func (c *Core) Keys(pattern, name string) (keys.Space, error) {
	return keys.New(c.opt.Namespace, pattern, name)
}

// Hub gives pushes: invalidations of tracked keys, and Pub/Sub messages.
func (c *Core) Hub() *hub.Hub { return c.hub }

// Clock is coarse time for deadlines and near expiry.
func (c *Core) Clock() *tick.Clock { return c.clock }

// Group owns the goroutines of the patterns; Close ends its context and waits.
func (c *Core) Group() *lifecycle.Group { return c.group }

// Logger is never nil. It does not wait for the user's handler, which gets the records a moment later.
func (c *Core) Logger() *slog.Logger { return c.opt.Logger }

// Start begins an observed operation. End it by calling what it returns, which is never nil.
func (c *Core) Start(ctx context.Context, op observe.Operation) (context.Context, func(error)) {
	if c.opt.Observer == nil {
		return ctx, func(error) {}
	}
	ctx, end := c.opt.Observer.Start(ctx, op)
	if end == nil { // the observer has no interest in the end
		end = func(error) {}
	}
	return ctx, end
}

// Observed reports whether somebody looks at operations.
func (c *Core) Observed() bool { return c.opt.Observer != nil }

// OnClose has fn called when Close begins, while calls still work: to hand back what is held. The returned function removes
// fn: it is not called by a Close that begins later.
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

// Close ends every goroutine and connection within five seconds (A7). A second call waits for the
// first and returns the same.
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
		errs = append(errs, fmt.Errorf("a pattern did not hand back what it holds within %v", closePatterns))
	} else {
		errs = append(errs, results...)
	}
	links := make(chan error, 2)
	for _, l := range []*link{c.blocking, c.foreign} {
		go func() { links <- l.close(closeLink) }()
	}
	c.conns.end()
	errs = append(errs, c.group.Close(closeGroup))
	for range cap(links) {
		errs = append(errs, <-links)
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

// watchConnections keeps idle connections honest, and their credentials fresh.
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
			if at := conn.refresh.Load(); at != 0 && time.Now().UnixNano() > at {
				conn.refresh.Store(0)
				c.group.Go("new credentials", conn.authenticate)
			}
			conn.probe(c.clock.Exact())
		}
		for _, n := range c.allNodes() {
			for k := range n.pools {
				n.pools[k].trim(c.clock.Exact())
			}
		}
	}
}
