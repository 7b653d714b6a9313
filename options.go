package redstart

import (
	"context"
	"log/slog"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/core"
)

// options validates the Config and converts it for the connection layer.
func (c Config) options() (core.Options, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return core.Options{}, err
	}
	e, err := c.endpoint()
	if err != nil {
		return core.Options{}, err
	}
	t, err := c.tlsConfig()
	if err != nil {
		return core.Options{}, err
	}
	opt := core.Options{
		Endpoint:       e,
		Protocol:       c.Protocol,
		Assume:         core.Capabilities(c.Assume),
		ClientName:     c.ClientName,
		Namespace:      c.Namespace,
		PoolSize:       c.PoolSize,
		CommandTimeout: c.CommandTimeout,
		TLS:            t,
		Dialer:         c.Dialer,
		Logger:         c.Logger,
		Observer:       c.Observer,
		Lazy:           c.Lazy,
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Credentials != nil {
		opt.Credentials = func(ctx context.Context) (rueidis.AuthCredentials, error) {
			got, err := c.Credentials(ctx)
			return rueidis.AuthCredentials{Username: got.Username, Password: got.Password, RefreshAfter: got.RefreshAfter}, err
		}
	}
	return opt, nil
}
