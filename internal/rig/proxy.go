package rig

import (
	"context"
	"net"
	"testing"

	"github.com/redstart-go/redstart/internal/faults"
)

// Proxy is a TCP proxy in this process between clients and one server. It creates faults of the
// network. Its methods are safe for concurrent use.
type Proxy struct{ *faults.Proxy }

// NewProxy starts a proxy to target (host:port). The proxy ends with the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	port, err := faults.ReservePort()
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{faults.New(func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", target)
	})}
	if err := p.Listen(port.Addr()); err != nil {
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
