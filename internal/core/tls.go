package core

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

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

// tlsConfig is nil without TLS.
func (c *Core) tlsConfig() *tls.Config {
	if !c.opt.Endpoint.TLS {
		return nil
	}
	if c.opt.TLS != nil {
		return c.opt.TLS
	}
	return &tls.Config{MinVersion: tls.VersionTLS12}
}

// dialTLS dials, with TLS if config is not nil. The handshake is over when it returns.
func dialTLS(ctx context.Context, dial dialer, network, addr string, config *tls.Config) (net.Conn, error) {
	nc, err := dial(ctx, network, addr)
	if err != nil || config == nil {
		return nc, err
	}

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

// dialer opens a connection.
type dialer func(ctx context.Context, network, addr string) (net.Conn, error)

// netDial dials with the user's Dialer, if there is one.
func (c *Core) netDial(ctx context.Context, network, addr string) (nc net.Conn, err error) {
	if c.opt.Dialer == nil {
		return (&net.Dialer{KeepAlive: keepAlive}).DialContext(ctx, network, addr)
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
	nc, err = c.opt.Dialer(ctx, network, addr)
	returned = true
	return nc, err
}
