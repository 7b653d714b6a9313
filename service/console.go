package main

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/console"
	"github.com/redstart-go/redstart/service/internal/local"
)

// openConsole returns the console of a demo, and a function that closes it. Without a demo it
// returns nil: the shop has no role for operators. The streams of the console end with ctx, so that
// a shutdown does not wait for them.
func openConsole(ctx context.Context, cfg config, client *redstart.Client, log *slog.Logger) (http.Handler, func() error, error) {
	if !cfg.Demo {
		return nil, func() error { return nil }, nil
	}
	c, err := console.New(client, console.Options{
		Prefix: "/console", Authorize: ownerOfThisMachine, Mask: console.MaskNone, Logger: log,
	})
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() }) // the second Close returns the error
	return c, func() error {
		stop()
		return c.Close()
	}, nil
}

// ownerOfThisMachine gives the role operator to requests that come directly from this machine.
func ownerOfThisMachine(r *http.Request) (console.Role, error) {
	if local.Peer(r) && local.Host(r) && !local.Forwarded(r) {
		return console.Operator, nil
	}
	return console.NoRole, nil
}
