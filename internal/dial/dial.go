// Package dial opens connections to servers: over TCP, Unix sockets, TLS and the dialer of the user.
package dial

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

// Dialer opens connections. Its fields are set before its first use.
type Dialer struct {
	Network   string // tcp or unix
	TLS       *tls.Config
	KeepAlive time.Duration
	// User, if not nil, takes the place of the network. Its panic is an error.
	User func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Dial opens a connection, with TLS if d.TLS is not nil. The handshake is over when it returns.
func (d *Dialer) Dial(ctx context.Context, addr string) (net.Conn, error) {
	nc, err := d.plain(ctx, addr)
	if err != nil || d.TLS == nil {
		return nc, err
	}

	config := d.TLS
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			host = addr
		}
		config = config.Clone()
		config.ServerName = host
	}
	conn := tls.Client(nc, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	return tlsConn{conn}, nil
}

// IsTLS reports whether a connection of a Dialer uses TLS. A write to it that was interrupted can't be continued.
func IsTLS(nc net.Conn) bool {
	_, is := nc.(tlsConn)
	return is
}

func (d *Dialer) plain(ctx context.Context, addr string) (nc net.Conn, err error) {
	if d.User == nil {
		return (&net.Dialer{KeepAlive: d.KeepAlive}).DialContext(ctx, d.Network, addr)
	}
	returned := false
	defer func() {
		switch cause := recover(); {
		case !returned:
			nc, err = nil, fmt.Errorf("Config.Dialer panicked: %v", cause)
		case nc == nil && err == nil:
			err = errors.New("Config.Dialer returned neither a connection nor an error")
		}
	}()
	nc, err = d.User(ctx, d.Network, addr)
	returned = true
	return nc, err
}

// alertWait bounds how long a failed write looks for the reason.
const alertWait = 50 * time.Millisecond

// tlsConn says why the server ended a connection. In TLS 1.3 our side of the handshake is over
// before the server has judged our certificate:
//
//	we      … certificate, finished │ HELLO ─────────▶ reset: "connection reset by peer"
//	server                          │ alert: unknown CA, close
//
// The alert has arrived before the reset, and is what the caller must see: it is no outage.
type tlsConn struct{ *tls.Conn }

func (c tlsConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil && !errors.Is(err, net.ErrClosed) {
		if alert := c.alert(); alert != nil {
			err = alert
		}
	}
	return n, err
}

// alert reads what is left of a connection that can't be written to any more, and returns the
// server's alert if there is one. The connection's own reader may have met it first: crypto/tls
// gives it to every Read from then on.
func (c tlsConn) alert() error {
	if err := c.SetReadDeadline(time.Now().Add(alertWait)); err != nil {
		return nil //nolint:nilerr // the connection is closed: the write's own error stands
	}
	rest := make([]byte, 4096)
	for range 16 {
		if _, err := c.Read(rest); err != nil {
			if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
				return err
			}
			return nil
		}
	}
	return nil
}
