package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/embedded"
)

// redis is the client of the shop, and the embedded engine if the shop started one.
type redis struct {
	*redstart.Client
	embedded *embedded.Server
	where    string // for the operator
}

const onEmbedded = "embedded engine: in memory, lost at exit, for development. Set REDIS_URL for a real one."

// openRedis connects to the URL. Only without one does it start the embedded engine: a URL that does not answer is an error,
// since a shop that quietly went on alone would share no caches with the others.
func openRedis(ctx context.Context, url string, log *slog.Logger) (*redis, error) {
	cfg, err := redstart.ConfigFromEnv()
	if err != nil {
		return nil, err
	}
	cfg.Logger = log
	if url != "" {
		cfg.URL = url
		client, err := redstart.Open(ctx, cfg)
		if err != nil {
			return nil, fmt.Errorf("%w; without REDIS_URL the shop runs on the embedded engine", err)
		}
		return &redis{Client: client, where: cfg.String()}, nil
	}

	server, err := embedded.Start(ctx, embedded.Options{})
	if err != nil {
		return nil, err
	}
	client, err := redstart.Open(ctx, redstart.Config{URL: server.URL(), Namespace: cfg.Namespace, Logger: log})
	if err != nil {
		return nil, errors.Join(err, server.Close())
	}
	return &redis{client, server, onEmbedded}, nil
}

// engine is what visitors may know of it.
func (r *redis) engine() string {
	if r.embedded != nil {
		return onEmbedded
	}
	return "Redis or Valkey"
}

// Close ends the connections, then the embedded engine.
func (r *redis) Close() error {
	err := r.Client.Close()
	if r.embedded != nil {
		err = errors.Join(err, r.embedded.Close())
	}
	return err
}
