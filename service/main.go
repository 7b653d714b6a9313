// The shop is the reference service of Redstart.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/redstart-go/redstart/service/internal/metrics"
	"github.com/redstart-go/redstart/service/internal/requestid"
	"github.com/redstart-go/redstart/service/internal/shop"
	"github.com/redstart-go/redstart/service/internal/store"
	"github.com/redstart-go/redstart/service/internal/thin"
	"github.com/redstart-go/redstart/service/internal/web"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := run(ctx, os.Args[1:], os.Stdout)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "shop:", err)
		os.Exit(1)
	}
}

// run serves the shop until ctx ends.
func run(ctx context.Context, args []string, out io.Writer) (err error) {
	cfg, err := readConfig(args, out)
	if err != nil {
		return err
	}
	log := slog.New(thin.Handler(requestid.Handler(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: cfg.LogLevel}))))

	listener, err := listen(ctx, "--addr", cfg.Addr)
	if err != nil {
		return err
	}
	defer listener.Close() // for the errors below; the server closes it too

	if cfg.Demo && !ownMachine(listener) {
		return fmt.Errorf("--demo with --addr %s: the demo has a public login and can stop Redis; "+
			"use a loopback address, or no --demo", cfg.Addr)
	}

	var operators net.Listener
	if cfg.DebugAddr != "" {
		if operators, err = debugListener(ctx, cfg.DebugAddr); err != nil {
			return err
		}
		defer operators.Close() // for the errors below
	}

	db, err := openStore(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()

	counts, err := metrics.New()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, counts.Close(context.WithoutCancel(ctx))) }()

	added := &stage{on: cfg.Demo}
	defer func() { err = errors.Join(err, added.Close()) }()

	redis, err := openRedis(ctx, cfg.RedisURL, added.through, log, counts.Observer())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, redis.Close()) }()

	service, err := shop.New(redis.Client, db, shop.Options{
		InsecureCookies: cfg.insecureCookies(listener), Instance: cfg.Instance, NearUsers: cfg.nearUsers(), Log: log,
	})
	if err != nil {
		return err
	}
	counts.Export(redis.Metrics(), db.Metrics())

	if operators != nil {
		stop := serveDebug(operators, counts, log)
		defer func() { err = errors.Join(err, stop()) }()
		fmt.Fprintf(out, "Profiles: %s/debug/pprof/\n", address(operators))
		fmt.Fprintf(out, "Metrics:  %s/metrics\n", address(operators))
	}

	show, closeDemo, err := added.open(ctx, redis, service, db, listener)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeDemo()) }()
	panel, closePanel, err := openConsole(ctx, cfg, redis.Client, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closePanel()) }()
	handler := web.New(web.Options{
		Shop:   service,
		Ready:  func(ctx context.Context) error { return errors.Join(db.Ping(ctx), redis.Ping(ctx)) },
		Log:    log,
		Engine: redis.engine(),

		DatabaseLatency: cfg.dbLatency(),
		NearUsers:       cfg.nearUsers(),

		Metrics: counts,
		Proxies: cfg.TrustedProxies,
		Demo:    show,
		Console: panel,
		Ending:  ctx,
	})

	fmt.Fprintf(out, "Redis:    %s\n", redis.where)
	fmt.Fprintf(out, "Database: %s\n", store.Redacted(cfg.DatabaseURL))
	if cfg.Demo && cfg.Seed {
		fmt.Fprintf(out, "Login:    %s, password %s (sample data)\n", store.SampleEmail, store.SamplePassword)
	}
	if panel != nil {
		fmt.Fprintf(out, "Console:  %s/console/\n", address(listener))
	}
	fmt.Fprintln(out, "Stop:     Ctrl-C")
	fmt.Fprintf(out, "Shop:     %s\n", address(listener)) // last: from now on the shop serves requests
	return work(ctx, service, func(ctx context.Context) error { return serve(ctx, listener, handler, log) })
}

// work runs the HTTP server, and the relay and the subscriber of the shop. If one of them ends, the
// others end too.
func work(ctx context.Context, service *shop.Shop, serve func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	worked := make(chan error, 1)
	go func() {
		defer cancel()
		worked <- service.Run(ctx)
	}()
	err := serve(ctx)
	cancel()
	return errors.Join(err, <-worked)
}

func openStore(ctx context.Context, cfg config) (*store.Store, error) {
	db, err := store.Open(ctx, cfg.DatabaseURL)
	if err != nil {
		return nil, fmt.Errorf("DATABASE_URL: %w", err)
	}
	if cfg.Demo && cfg.Seed {
		if err := db.Seed(ctx); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	db.SetLatency(cfg.dbLatency())
	return db, nil
}
