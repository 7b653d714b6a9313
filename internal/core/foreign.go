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

// foreignClient is a client of the client library, opened at its first use. One serves blocking
// reads and Pub/Sub, another the user's commands.
type foreignClient struct {
	core *Core
	name string
	more int // connections per node beyond PoolSize

	toSentinels net.Resolver // marks the library's dialer for the sentinels; never asked

	client  atomic.Pointer[rueidis.Client]
	mu      sync.Mutex
	opening chan struct{} // closed at the end of the current attempt
	err     error         // of the last attempt
	shut    bool
	open    map[*foreignConn]struct{}
	lent    map[*lentConn]struct{}
}

// sentinelEvery is how often the sentinels are asked for the primary. They announce a new primary
// only after all replicas follow it. This is seconds after it accepts writes. But they name it at
// once when they are asked.
const sentinelEvery = 500 * time.Millisecond

// get returns the client, and opens it at the first call. The handshake of the ordinary connection
// comes first, because it finds out which protocol the server has. get waits until ctx ends or the
// call is due.
func (f *foreignClient) get(ctx context.Context, due time.Duration) (rueidis.Client, error) {
	if c := f.client.Load(); c != nil {
		return *c, nil
	}
	if err := f.core.begin(ctx, due); err != nil {
		return nil, err
	}
	f.mu.Lock()
	if f.shut {
		f.mu.Unlock()
		return nil, fault.Classify(errClosed, false)
	}

	wait := f.opening
	if wait == nil {
		wait = make(chan struct{})
		f.opening = wait
		if !f.core.group.Go("opening of the "+f.name+" connection", func(context.Context) { f.connect(wait) }) {
			f.opening = nil
			f.mu.Unlock()
			return nil, fault.Classify(errClosed, false)
		}
	}
	f.mu.Unlock()
	select {
	case <-wait:
	case <-ctx.Done():
		return nil, fault.Classify(contextError(ctx), false)
	case <-f.core.clock.At(due):
		return nil, fault.Classify(fmt.Errorf("no connection within %v: %w", f.core.opt.CommandTimeout, errSilent), false)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch c := f.client.Load(); {
	case c != nil:
		return *c, nil
	case f.shut: // also if the attempt succeeded before
		return nil, fault.Classify(errClosed, false)
	}
	return nil, fault.Foreign(f.err, false)
}

func (f *foreignClient) connect(done chan struct{}) {
	defer close(done)
	client, err := rueidis.NewClient(f.option())

	f.mu.Lock()
	f.opening = nil
	if err == nil && f.shut {
		err = errClosed
	}
	if f.err = err; err == nil {
		f.client.Store(&client)
	}
	f.mu.Unlock()
	if err != nil && client != nil { // for one server, the client exists even without a connection
		client.Close()
	}
}

// close ends the client and its connections within twice the limit, even if the server does not
// answer.
func (f *foreignClient) close(limit time.Duration) error {
	f.mu.Lock()
	f.shut = true
	client := f.client.Swap(nil) // later calls of get return an error
	f.mu.Unlock()
	if client == nil {
		f.sever()
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
	case <-timer.C: // the server does not answer
	}

	f.sever()
	timer.Reset(limit)
	select {
	case <-done:
		return nil
	case <-timer.C:
		return fmt.Errorf("the %s connection did not close", f.name)
	}
}

func (f *foreignClient) option() rueidis.ClientOption {
	o := &f.core.opt
	e := o.Endpoint
	opt := rueidis.ClientOption{
		InitAddress:         e.Addrs,
		Username:            e.Username,
		Password:            e.Password,
		SelectDB:            e.DB,
		ClientName:          o.ClientName + ":" + f.name,
		AlwaysRESP2:         f.core.agreed.resp2.Load(),
		ClientSetInfo:       rueidis.DisableClientSetInfo,
		Dialer:              net.Dialer{Timeout: o.CommandTimeout, KeepAlive: keepAlive},
		ConnWriteTimeout:    max(patience, o.CommandTimeout),
		DialCtxFn:           f.dial,
		PipelineMultiplex:   -1,
		BlockingPoolSize:    o.PoolSize + f.more,
		BlockingPoolCleanup: time.Minute,
		AlwaysPipelining:    true,
		DisableRetry:        true,
		DisableCache:        true,
		ForceSingleClient:   e.Mode == endpoint.Standalone,
		ClusterOption:       rueidis.ClusterOption{ShardsRefreshInterval: topologyEvery, MaxMovedRedirections: maxHops},
		TLSConfig:           f.core.dialer.TLS,
	}

	if f.core.agreed.unnamed.Load() {
		opt.ClientName = ""
	}
	if e.Mode == endpoint.Sentinel {
		opt.Sentinel = rueidis.SentinelOption{
			MasterSet: e.MasterSet, Username: e.SentinelUsername, Password: e.SentinelPassword,
			Dialer: opt.Dialer, TLSConfig: opt.TLSConfig, TopologyRefreshInterval: sentinelEvery,
		}
		opt.Sentinel.Dialer.Resolver = &f.toSentinels
	}

	if o.Credentials != nil {
		opt.AuthCredentialsFn = func(of rueidis.AuthCredentialsContext) (rueidis.AuthCredentials, error) {
			if _, is := of.Address.(sentinelAddr); is { // the library asks for the sentinels too
				return rueidis.AuthCredentials{Username: e.SentinelUsername, Password: e.SentinelPassword}, nil
			}
			ctx, cancel := context.WithTimeout(f.core.group.Context(), o.CommandTimeout)
			defer cancel()
			return f.core.login(ctx)
		}
	}
	return opt
}

func (f *foreignClient) dial(ctx context.Context, addr string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	// so that Close does not wait for a handshake
	defer context.AfterFunc(f.core.group.Context(), cancel)()
	nc, err := f.core.dialer.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}

	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shut {
		_ = nc.Close()
		return nil, errClosed
	}
	if f.open == nil {
		f.open = make(map[*foreignConn]struct{})
	}
	conn := &foreignConn{Conn: nc, client: f, sentinel: d.Resolver == &f.toSentinels}
	conn.resp2.Store(f.core.agreed.resp2.Load())
	f.open[conn] = struct{}{}
	return conn, nil
}

func (f *foreignClient) sever() {
	f.mu.Lock()
	open := f.open
	f.open = nil
	f.mu.Unlock()
	for c := range open {
		_ = c.Conn.Close()
	}
}
