package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/embedded"
	"github.com/redstart-go/redstart/observe"
)

// redis is the Redis client of the shop, with the embedded engine if the shop started it.
type redis struct {
	*redstart.Client
	embedded *embedded.Server
	where    string          // description for the operator
	config   redstart.Config // of the client
}

const onEmbedded = "embedded engine, in memory, data is lost at exit, for development. Set REDIS_URL to use Redis."

// openRedis connects to the URL. Without a URL it starts the embedded engine. If the server of a
// URL does not answer, openRedis returns an error and does not use the embedded engine, which would
// share no caches with other instances.
//
// through may replace the URL by that of a proxy. The observer may be nil.
func openRedis(ctx context.Context, url string, through func(context.Context, string) (string, error), log *slog.Logger,
	observer observe.Observer) (_ *redis, err error) {
	cfg, err := redstart.ConfigFromEnv()
	if err != nil {
		return nil, err
	}
	cfg.Logger = log
	r := &redis{}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if url != "" {
		cfg.URL = url
		r.where = cfg.String()
	} else {
		if r.embedded, err = embedded.Start(ctx, embedded.Options{}); err != nil {
			return nil, err
		}
		cfg = redstart.Config{URL: r.embedded.URL(), Namespace: cfg.Namespace, CommandTimeout: cfg.CommandTimeout, Logger: log}
		r.where = onEmbedded
	}
	cfg.Observer = observer
	if cfg.URL, err = through(ctx, cfg.URL); err != nil {
		return nil, err
	}
	r.config = cfg
	if r.Client, err = redstart.Open(ctx, cfg); err != nil && url != "" {
		err = fmt.Errorf("%w; without REDIS_URL the shop uses the embedded engine", err)
	}
	return r, err
}

// engine returns the description of Redis for visitors.
func (r *redis) engine() string {
	if r.embedded != nil {
		return onEmbedded
	}
	return "Redis or Valkey"
}

// Close closes the client, then the embedded engine.
func (r *redis) Close() (err error) {
	if r.Client != nil {
		err = r.Client.Close()
	}
	if r.embedded != nil {
		err = errors.Join(err, r.embedded.Close())
	}
	return err
}
