package main

import (
	"context"
	"net"
	"net/url"
	"time"

	"github.com/redstart-go/redstart/service/internal/demo"
	"github.com/redstart-go/redstart/service/internal/local"
)

// breakable puts an outage on demand in front of a Redis on this machine, and returns the URL that leads through it. For a Redis
// elsewhere, or one that is not a single server over plain TCP, it returns the URL as it is.
func breakable(ctx context.Context, redisURL string) (*demo.Outage, string, error) {
	u, err := url.Parse(redisURL)
	if err != nil || u.Scheme != "redis" && u.Scheme != "valkey" || !local.IsLoopback(u.Hostname()) {
		return nil, redisURL, nil //nolint:nilerr // redstart.Open says what is wrong with a URL
	}
	port := u.Port()
	if port == "" {
		port = "6379"
	}
	target := net.JoinHostPort(u.Hostname(), port)
	if conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", target); err != nil {
		return nil, redisURL, nil //nolint:nilerr // redstart.Open says so, with the address that was meant
	} else if err := conn.Close(); err != nil {
		return nil, "", err
	}
	outage, err := demo.NewOutage(ctx, "tcp", target)
	if err != nil {
		return nil, "", err
	}
	u.Host = outage.Addr()
	return outage, u.String(), nil
}

// ownMachine reports whether only this machine can reach the shop, which is when the demo's controls may be offered.
func ownMachine(listener net.Listener) bool {
	at, ok := listener.Addr().(*net.TCPAddr)
	return ok && at.IP.IsLoopback()
}
