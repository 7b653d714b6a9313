package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/embedded"
	"github.com/redstart-go/redstart/service/internal/demo"
)

// redis is the client of the shop, and the embedded engine if the shop started one.
type redis struct {
	*redstart.Client
	embedded *embedded.Server
	outage   *demo.Outage // nil where none can be staged
	where    string       // for the operator
}

const onEmbedded = "embedded engine: in memory, lost at exit, for development. Set REDIS_URL for a real one."

// openRedis connects to the URL. Only without one does it start the embedded engine: a URL that does not answer is an error,
// since a shop that quietly went on alone would share no caches with the others.
//
// With staged, an outage can be staged on a Redis of this machine.
func openRedis(ctx context.Context, url string, staged bool, log *slog.Logger) (_ *redis, err error) {
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
	if staged {
		if r.outage, cfg.URL, err = breakable(ctx, cfg.URL); err != nil {
			return nil, err
		}
	}
	if r.Client, err = redstart.Open(ctx, cfg); err != nil && url != "" {
		err = fmt.Errorf("%w; without REDIS_URL the shop runs on the embedded engine", err)
	}
	return r, err
}

// engine is what visitors may know of it.
func (r *redis) engine() string {
	if r.embedded != nil {
		return onEmbedded
	}
	return "Redis or Valkey"
}

// Close ends the connections, then what they lead to.
func (r *redis) Close() (err error) {
	if r.Client != nil {
		err = r.Client.Close()
	}
	if r.outage != nil {
		err = errors.Join(err, r.outage.Close())
	}
	if r.embedded != nil {
		err = errors.Join(err, r.embedded.Close())
	}
	return err
}
