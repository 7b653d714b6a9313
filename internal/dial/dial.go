// Package dial opens connections to servers: over TCP, over Unix sockets, with TLS, and with the
// user's dialer.
package dial

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

// Dialer opens connections. Set its fields before the first use.
type Dialer struct {
	Network   string // tcp or unix
	TLS       *tls.Config
	KeepAlive time.Duration
	// User, if not nil, replaces the network. A panic of User is returned as an error.
	User func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Dial opens a connection. If d.TLS is not nil, the connection uses TLS, and its handshake is
// complete.
func (d *Dialer) Dial(ctx context.Context, addr string) (net.Conn, error) {
	nc, err := d.plain(ctx, addr)
	if err != nil {
		return nil, err
	}
	nc = withBusyReads(nc)
	if d.TLS == nil {
		return nc, nil
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
	return tlsConn{conn, nc}, nil
}

// ReadBusily lets the next reads of a connection of a Dialer try for a short time before they wait,
// where the system and the connection allow it. It saves time while a caller waits for a near
// server. The reader of the connection calls it.
func ReadBusily(nc net.Conn, on bool) {
	if r, ok := nc.(busyReader); ok {
		r.ReadBusily(on)
	}
}

type busyReader interface{ ReadBusily(on bool) }

// IsTLS reports whether a connection of a Dialer uses TLS. An interrupted write to such a
// connection can't be continued.
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

// alertWait bounds how long a failed write looks for the server's alert.
const alertWait = 50 * time.Millisecond

// tlsConn reports why the server ended a connection. In TLS 1.3, the client's handshake is complete
// before the server has checked the client's certificate:
//
//	client  … certificate, finished │ HELLO ─────────▶ reset: "connection reset by peer"
//	server                          │ alert: unknown CA, close
//
// The alert arrives before the reset. It is the error that the caller needs, because it is not an
// outage.
type tlsConn struct {
	*tls.Conn
	under net.Conn
}

func (c tlsConn) ReadBusily(on bool) { ReadBusily(c.under, on) }

func (c tlsConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil && !errors.Is(err, net.ErrClosed) {
		if alert := c.alert(); alert != nil {
			err = alert
		}
	}
	return n, err
}

// alert reads the rest of a connection whose write has failed. It returns the server's alert if
// there is one. The connection's reader may have received the alert first. crypto/tls returns it
// from every later Read.
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
