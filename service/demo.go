package main

import (
	"context"
	"errors"
	"net"
	"net/url"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/service/internal/demo"
	"github.com/redstart-go/redstart/service/internal/local"
	"github.com/redstart-go/redstart/service/internal/shop"
	"github.com/redstart-go/redstart/service/internal/store"
)

// stage is what --demo adds to the shop: a proxy that can stop Redis, a second client, and the
// stories of the page. The rest of the shop does not know it. A stage that is off adds nothing.
type stage struct {
	on     bool
	outage *demo.Outage // nil if the demo can't stop this Redis
}

// through puts a proxy in front of a Redis on this machine, which can simulate an outage, and
// returns the URL of the proxy. For a Redis on another machine, and for one that is not a single
// server over plain TCP, it returns the URL unchanged.
func (s *stage) through(ctx context.Context, redisURL string) (string, error) {
	u, err := url.Parse(redisURL)
	if !s.on || err != nil || u.Scheme != "redis" && u.Scheme != "valkey" || !local.IsLoopback(u.Hostname()) {
		return redisURL, nil //nolint:nilerr // redstart.Open reports a bad URL
	}
	port := u.Port()
	if port == "" {
		port = "6379"
	}
	target := net.JoinHostPort(u.Hostname(), port)
	if conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", target); err != nil {
		return redisURL, nil //nolint:nilerr // redstart.Open reports the failure, with the address of the user
	} else if err := conn.Close(); err != nil {
		return "", err
	}
	if s.outage, err = demo.NewOutage(ctx, "tcp", target); err != nil {
		return "", err
	}
	u.Host = s.outage.Addr()
	return u.String(), nil
}

// Close closes the proxy.
func (s *stage) Close() error { return closed(s.outage) }

// open returns the demo of the page, and a function that closes it. A stage that is off returns no
// demo. Virtual users stop with ctx, so that a shutdown does not wait for them.
func (s *stage) open(ctx context.Context, r *redis, service *shop.Shop, db *store.Store, listener net.Listener) (
	*demo.Demo, func() error, error) {
	if !s.on {
		return nil, func() error { return nil }, nil
	}
	base, err := url.Parse(address(listener))
	if err != nil {
		return nil, nil, err
	}
	second, cut, err := s.openSecond(ctx, r.config)
	if err != nil {
		return nil, nil, err
	}
	d, err := demo.New(demo.Options{
		Client: r.Client, Second: second, Cut: cut, Shop: service, Database: db, Base: base, Users: store.SampleUsers,
		Outage: s.outage,
	})
	if err != nil {
		return nil, nil, errors.Join(err, second.Close(), closed(cut))
	}
	stop := context.AfterFunc(ctx, d.Stop)
	return d, func() error {
		stop()
		d.Stop()
		return errors.Join(second.Close(), closed(cut))
	}, nil
}

// openSecond opens the client of instance B of the stories. If the demo can stop this Redis, the
// client has a proxy of its own in front of the proxy of the shop, so that it can be cut off alone.
func (s *stage) openSecond(ctx context.Context, config redstart.Config) (client *redstart.Client, cut *demo.Outage, err error) {
	config.Observer, config.Logger = nil, nil // the metrics and the log have the shop's client only
	if s.outage != nil {
		u, err := url.Parse(config.URL)
		if err != nil {
			return nil, nil, err
		}
		if cut, err = demo.NewOutage(ctx, "tcp", s.outage.Addr()); err != nil {
			return nil, nil, err
		}
		u.Host = cut.Addr()
		config.URL = u.String()
	}
	if client, err = redstart.Open(ctx, config); err != nil {
		return nil, nil, errors.Join(err, closed(cut))
	}
	return client, cut, nil
}

// closed closes a proxy that may be nil.
func closed(o *demo.Outage) error {
	if o == nil {
		return nil
	}
	return o.Close()
}

// ownMachine reports whether only this machine can reach the shop. Otherwise the demo is refused.
func ownMachine(listener net.Listener) bool {
	at, ok := listener.Addr().(*net.TCPAddr)
	return ok && at.IP.IsLoopback()
}
