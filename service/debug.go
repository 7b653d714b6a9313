package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"time"

	"github.com/redstart-go/redstart/service/internal/local"
)

// debugListener listens for profilers and scrapes of metrics. Both show internals of the process.
// So they are only for this machine, and never on the address of the shop.
func debugListener(ctx context.Context, addr string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("--debug-addr %s: %w", addr, err)
	}
	if at, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !at.IsLoopback()) {
		return nil, fmt.Errorf("--debug-addr %s: profiles are only for this machine; want a loopback address, for example 127.0.0.1:6060",
			addr)
	}
	return listen(ctx, "--debug-addr", addr)
}

// serveDebug serves profiles and metrics until the returned function is called. It refuses other
// hosts: a web page whose name resolves to this machine must not read profiles.
func serveDebug(listener net.Listener, metrics http.Handler, log *slog.Logger) (stop func() error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index) // and the named profiles
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.Handle("GET /metrics", metrics)
	refuse := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "profiles and metrics are only for this machine: open localhost or 127.0.0.1", http.StatusForbidden)
	})
	server := &http.Server{Handler: local.Only(mux, refuse), ReadHeaderTimeout: 5 * time.Second,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	return func() error {
		err := server.Close() // cuts off a running profile
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	}
}
