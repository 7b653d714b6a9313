package core

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/endpoint"
	"github.com/redstart-go/redstart/internal/fault"
)

// link is one rueidis client, opened when it is first needed: main for commands, tracked for
// reads whose changes are pushed, blocking for blocking reads and Pub/Sub.
type link struct {
	core *Core
	name string
	with func(*rueidis.ClientOption)

	client  atomic.Pointer[rueidis.Client]
	mu      sync.Mutex
	opening chan struct{} // closed when the attempt under way has ended
	err     error         // of the last attempt
	shut    bool

	ready func(ctx context.Context, client rueidis.Client) error // before the client is used; may be nil

	conns conns

	up       atomic.Int32  // open connections to data nodes
	lastRead atomic.Int64  // clock: when one of them last got something
	era      atomic.Int64  // counts connections that came or went, and direct calls that were given up
	proven   atomic.Int64  // the last era in which a worker's call was answered; -1 is none
	watches  watches       // the direct calls
	ring     chan struct{} // holds what workers may have in the connection's ring; nil in clusters, which have many
}

func newLink(c *Core, name string, with func(*rueidis.ClientOption)) *link {
	l := &link{core: c, name: name, with: with}
	l.proven.Store(-1)
	if !c.cluster() {
		l.ring = make(chan struct{}, perRing)
	}
	return l
}

// keepAlive is how often an idle connection is asked; with patience added it
// bounds how long a dead connection looks alive.
const (
	keepAlive = time.Second
	patience  = 3 * time.Second
)

// sentinelEvery is how often the sentinels are asked for the primary. They announce a new one only when
// all replicas follow it, seconds after it takes writes, but name it at once when asked.
const sentinelEvery = 500 * time.Millisecond

// get returns the client, opening it if need be. It waits no longer than for ctx or until due.
func (l *link) get(ctx context.Context, due time.Duration) (rueidis.Client, error) {
	if c := l.client.Load(); c != nil {
		return *c, nil
	}
	l.mu.Lock()
	if l.shut {
		l.mu.Unlock()
		return nil, fault.Classify(errClosed, false)
	}
	wait := l.opening
	if wait == nil {
		wait = make(chan struct{})
		l.opening = wait
		if !l.core.group.Go("opening of the "+l.name+" connection", func(ctx context.Context) { l.open(ctx, wait) }) {
			l.opening = nil
			l.mu.Unlock()
			return nil, fault.Classify(errClosed, false)
		}
	}
	l.mu.Unlock()
	select {
	case <-wait:
	case <-ctx.Done():
		return nil, fault.Classify(ended(ctx), false)
	case <-l.core.clock.At(due):
		return nil, fault.Classify(fmt.Errorf("no connection within %v: %w", l.core.opt.CommandTimeout, errSilent), false)
	}
	if c := l.client.Load(); c != nil {
		return *c, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return nil, fault.Foreign(l.err, false)
}

func (l *link) open(ctx context.Context, done chan struct{}) {
	defer close(done)
	client, err := rueidis.NewClient(l.option())
	if err == nil && l.ready != nil {
		err = l.ready(ctx, client)
	}
	l.mu.Lock()
	l.opening = nil
	if err == nil && l.shut {
		err = errClosed
	}
	if l.err = err; err == nil {
		l.client.Store(&client)
	}
	l.mu.Unlock()
	if err != nil && client != nil { // a single client exists without a connection, too
		client.Close()
	}
}

// close ends the client and its connections within limit, also when the server does not answer.
func (l *link) close(limit time.Duration) error {
	l.mu.Lock()
	l.shut = true
	client := l.client.Load()
	l.mu.Unlock()
	if client == nil {
		l.conns.sever()
		return nil
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		(*client).Close()
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-timer.C: // no answer is coming
	}
	l.conns.sever()
	timer.Reset(limit)
	select {
	case <-done:
		return nil
	case <-timer.C:
		return fmt.Errorf("the %s connection did not close", l.name)
	}
}

func (l *link) option() rueidis.ClientOption {
	o := &l.core.opt
	e := o.Endpoint
	opt := rueidis.ClientOption{
		InitAddress:         e.Addrs,
		Username:            e.Username,
		Password:            e.Password,
		SelectDB:            e.DB,
		ClientName:          "redstart:" + l.name,
		ClientSetInfo:       rueidis.DisableClientSetInfo,
		Dialer:              net.Dialer{Timeout: o.CommandTimeout, KeepAlive: keepAlive},
		ConnWriteTimeout:    max(patience, o.CommandTimeout),
		DialCtxFn:           l.dial,
		PipelineMultiplex:   -1,
		BlockingPoolSize:    o.PoolSize,
		BlockingPoolCleanup: time.Minute,
		AlwaysPipelining:    true,
		DisableRetry:        true,
		DisableCache:        true,
		ForceSingleClient:   e.Mode == endpoint.Standalone,
		ClusterOption:       rueidis.ClusterOption{ShardsRefreshInterval: topologyEvery, MaxMovedRedirections: 16},
		ReadBufferEachConn:  64 << 10,
		WriteBufferEachConn: 64 << 10,
	}
	if e.TLS {
		opt.TLSConfig = o.TLS
		if opt.TLSConfig == nil {
			opt.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
	}
	if e.Mode == endpoint.Sentinel {
		opt.Sentinel = rueidis.SentinelOption{
			MasterSet: e.MasterSet, Username: e.SentinelUsername, Password: e.SentinelPassword,
			Dialer: sentinelDialer(opt.Dialer), TLSConfig: opt.TLSConfig, TopologyRefreshInterval: sentinelEvery,
		}
	}
	if o.Credentials != nil {
		opt.AuthCredentialsFn = func(rueidis.AuthCredentialsContext) (rueidis.AuthCredentials, error) {
			ctx, cancel := context.WithTimeout(l.core.group.Context(), o.CommandTimeout)
			defer cancel()
			return o.Credentials(ctx)
		}
	}
	l.with(&opt)
	return opt
}

func (l *link) dial(ctx context.Context, addr string, d *net.Dialer, config *tls.Config) (net.Conn, error) {
	data := d.Control == nil
	if data && l.giveWay(ctx) {
		return nil, errDirectDial
	}
	network := "tcp"
	if l.core.opt.Endpoint.Network == "unix" {
		network = "unix"
	}
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	defer context.AfterFunc(l.core.group.Context(), cancel)() // Close waits for nobody's handshake
	var conn net.Conn
	var err error
	if config != nil {
		conn, err = (&tls.Dialer{NetDialer: d, Config: config}).DialContext(ctx, network, addr)
		if secure, ok := conn.(*tls.Conn); ok && err == nil {
			conn = tlsConn{secure}
		}
	} else {
		conn, err = d.DialContext(ctx, network, addr)
	}
	if err != nil {
		return nil, err
	}
	return l.conns.add(l, conn, data)
}

// sentinelDialer marks the dials to sentinels, whose answers say nothing about the data nodes.
func sentinelDialer(d net.Dialer) net.Dialer {
	d.Control = func(string, string, syscall.RawConn) error { return nil }
	return d
}

// conns knows the open connections of a link, so that they can be closed
// when the other side has fallen silent.
type conns struct {
	mu   sync.Mutex
	open map[*conn]struct{}
	shut bool
}

type conn struct {
	net.Conn
	link   *link
	data   bool // not to a sentinel
	closed sync.Once
}

func (s *conns) add(l *link, c net.Conn, data bool) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut {
		c.Close()
		return nil, errClosed
	}
	if s.open == nil {
		s.open = make(map[*conn]struct{})
	}
	wrapped := &conn{Conn: c, link: l, data: data}
	if data {
		l.up.Add(1)
		l.era.Add(1)
		l.core.relearn(l)
	}
	s.open[wrapped] = struct{}{}
	return wrapped, nil
}

func (s *conns) sever() {
	s.mu.Lock()
	s.shut = true
	open := s.open
	s.open = nil
	s.mu.Unlock()
	for c := range open {
		c.Conn.Close()
	}
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.down()
	} else if c.data {
		c.link.lastRead.Store(int64(c.link.core.clock.Now()))
	}
	return n, err
}

// Write lets those who are ready to send add their commands to the next write. The client writes as soon as its queue is
// empty, and whoever queues a command wakes it at once: of 128 callers who just got their answers the first alone would
// fill a write, and a system call costs more than a command. Who is alone gives way to nobody and loses nothing.
func (c *conn) Write(p []byte) (int, error) {
	runtime.Gosched()
	return c.Conn.Write(p)
}

func (c *conn) Close() error {
	c.down()
	set := &c.link.conns
	set.mu.Lock()
	delete(set.open, c)
	set.mu.Unlock()
	return c.Conn.Close()
}

func (c *conn) down() {
	c.closed.Do(func() {
		if c.data {
			c.link.era.Add(1)
			c.link.up.Add(-1)
		}
	})
}

// ended is why ctx ended: its error, with the cause where there is one.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || errors.Is(cause, err) {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}
