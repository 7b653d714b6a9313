package rig

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/faults"
)

// Proxy is a TCP proxy in this process between clients and one server. It creates faults of the
// network. Its methods are safe for concurrent use.
type Proxy struct{ *faults.Proxy }

// NewProxy starts a proxy to target (host:port). The proxy ends with the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	return newProxy(t, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", target)
	})
}

// NewGateway starts a proxy to target (host:port) that refuses commands, like the gateway of a
// managed service. denials has the commands in capital letters, and the error reply to each, such
// as "NOPROTO unsupported protocol version". If the reply is "", the connection ends at the
// command.
func NewGateway(t testing.TB, target string, denials map[string]string) *Proxy {
	t.Helper()
	return NewChangingGateway(t, target, func() map[string]string { return denials })
}

// NewChangingGateway is [NewGateway] with denials that may change. Each new connection asks for
// them.
func NewChangingGateway(t testing.TB, target string, denials func() map[string]string) *Proxy {
	t.Helper()
	return newProxy(t, func(ctx context.Context) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, "tcp", target)
		if err != nil {
			return nil, err
		}
		return faults.Refusing(nc, denials()), nil
	})
}

// NewExpiringGateway starts a proxy to target (host:port) that ends connections whose last login is
// older than lifetime, like a managed service with tokens that expire. ended returns the number of
// these connections.
func NewExpiringGateway(t testing.TB, target string, lifetime time.Duration) (p *Proxy, ended func() int64) {
	t.Helper()
	count := &atomic.Int64{}
	p = newProxy(t, func(ctx context.Context) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, "tcp", target)
		if err != nil {
			return nil, err
		}
		return faults.Expiring(nc, lifetime, func() { count.Add(1) }), nil
	})
	return p, count.Load
}

func newProxy(t testing.TB, dial func(ctx context.Context) (net.Conn, error)) *Proxy {
	t.Helper()
	port, err := faults.ReservePort()
	if err != nil {
		t.Fatal(err)
	}
	return listen(t, port, port.Addr(), dial)
}

// listen starts a proxy at addr, and releases port at its end.
func listen(t testing.TB, port *faults.Port, addr string, dial func(ctx context.Context) (net.Conn, error)) *Proxy {
	t.Helper()
	p := &Proxy{faults.New(dial)}
	if err := p.Listen(addr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Close()
		port.Release()
	})
	return p
}

// URL returns a redis URL of the proxy, without credentials.
func (p *Proxy) URL() string { return "redis://" + p.Addr() + "/0" }
