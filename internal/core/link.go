package core

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/endpoint"
	"github.com/redstart-go/redstart/internal/fault"
)

// link is a client of the client library, opened when it is first needed: for blocking reads and Pub/Sub, and for
// commands of the user.
type link struct {
	core *Core
	name string
	more int // connections per node beyond PoolSize

	client  atomic.Pointer[rueidis.Client]
	mu      sync.Mutex
	opening chan struct{} // closed when the attempt under way has ended
	err     error         // of the last attempt
	shut    bool
	open    map[*foreignConn]struct{}
}

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
		if !l.core.group.Go("opening of the "+l.name+" connection", func(context.Context) { l.connect(wait) }) {
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

func (l *link) connect(done chan struct{}) {
	defer close(done)
	client, err := rueidis.NewClient(l.option())
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

// close ends the client and its connections within twice the limit, also when the server does not answer.
func (l *link) close(limit time.Duration) error {
	l.mu.Lock()
	l.shut = true
	client := l.client.Load()
	l.mu.Unlock()
	if client == nil {
		l.sever()
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
	l.sever()
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
		BlockingPoolSize:    o.PoolSize + l.more,
		BlockingPoolCleanup: time.Minute,
		AlwaysPipelining:    true,
		DisableRetry:        true,
		DisableCache:        true,
		ForceSingleClient:   e.Mode == endpoint.Standalone,
		ClusterOption:       rueidis.ClusterOption{ShardsRefreshInterval: topologyEvery, MaxMovedRedirections: maxHops},
		TLSConfig:           l.core.dialer.TLS,
	}
	if e.Mode == endpoint.Sentinel {
		opt.Sentinel = rueidis.SentinelOption{
			MasterSet: e.MasterSet, Username: e.SentinelUsername, Password: e.SentinelPassword,
			Dialer: opt.Dialer, TLSConfig: opt.TLSConfig, TopologyRefreshInterval: sentinelEvery,
		}
	}
	if o.Credentials != nil {
		opt.AuthCredentialsFn = func(rueidis.AuthCredentialsContext) (rueidis.AuthCredentials, error) {
			ctx, cancel := context.WithTimeout(l.core.group.Context(), o.CommandTimeout)
			defer cancel()
			return o.Credentials(ctx)
		}
	}
	return opt
}

func (l *link) dial(ctx context.Context, addr string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	defer context.AfterFunc(l.core.group.Context(), cancel)() // Close waits for no handshake
	nc, err := l.core.dialer.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shut {
		_ = nc.Close()
		return nil, errClosed
	}
	if l.open == nil {
		l.open = make(map[*foreignConn]struct{})
	}
	conn := &foreignConn{nc, l}
	l.open[conn] = struct{}{}
	return conn, nil
}

// foreignConn is an open connection of a link, so that it can be closed when the other side has fallen silent.
type foreignConn struct {
	net.Conn
	link *link
}

func (c *foreignConn) Close() error {
	c.link.mu.Lock()
	delete(c.link.open, c)
	c.link.mu.Unlock()
	return c.Conn.Close()
}

func (l *link) sever() {
	l.mu.Lock()
	open := l.open
	l.open = nil
	l.mu.Unlock()
	for c := range open {
		_ = c.Conn.Close()
	}
}
