package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/redstart-go/redstart/console"
	"github.com/redstart-go/redstart/inspect"
)

// consoleCommand returns the verb that serves the pages of package console.
func (a *app) consoleCommand() *cobra.Command {
	var addr string
	var values bool
	cmd := &cobra.Command{
		Use:   "console",
		Short: "Serve pages for operators on this machine",
		Long: `Serve pages for operators on this machine, until the command is interrupted: caches, locks, limits, sessions and
events, live. Open the printed address in a browser. Its key is new for each start, and without it no page opens.

The pages are read-only without --yes. Values and data of events are masked without --values. The charts of the
overview are empty: they show the rates of the process that serves the pages.`,
		Args: cobra.NoArgs,
		RunE: a.showing(func(ctx context.Context, _ *inspect.Inspector, _ []string) error {
			return a.serveConsole(ctx, addr, values)
		}),
	}
	cmd.Flags().StringVar(&addr, "addr", "127.0.0.1:7380", "loopback address of the pages; port 0 is any free port")
	cmd.Flags().BoolVar(&values, "values", false, "allow to show cached values and the data of events")
	cmd.Flags().StringVar(&a.keysFile, "keys", "", "file with the keys of session managers; see redstartctl session --help")
	return cmd
}

// cookieName is the cookie that has the key of this start.
const cookieName = "redstartctl"

// serveConsole serves until ctx ends.
func (a *app) serveConsole(ctx context.Context, addr string, values bool) error {
	listener, err := listenLoopback(ctx, addr)
	if err != nil {
		return err
	}
	defer listener.Close() // for the errors below; the server closes it too
	keys, err := a.sessionKeys()
	if err != nil {
		return err
	}
	key := rand.Text()
	role := console.Viewer
	if a.yes && !a.readOnly {
		role = console.Operator
	}
	opts := console.Options{
		Authorize: func(r *http.Request) (console.Role, error) {
			if cookie, err := r.Cookie(cookieName); err != nil || !equal(cookie.Value, key) {
				return console.NoRole, nil //nolint:nilerr // a request without the cookie has no role
			}
			return role, nil
		},
		Actor: func(*http.Request) string { return a.actorName() }, ReadOnly: role != console.Operator,
		SessionKeys: keys, Logger: a.log(),
	}
	if values {
		opts.Mask = console.MaskNone
	}
	pages, err := console.New(a.client, opts)
	if err != nil {
		return err
	}

	fmt.Fprintf(a.stdout, "Console: http://%s/open?key=%s\n", listener.Addr(), key)
	fmt.Fprintln(a.stdout, "Stop:    Ctrl-C")
	return errors.Join(serveUntil(ctx, listener, opening(pages, key), a.log()), pages.Close())
}

// opening sets the cookie of a visitor who has the key. The address with the key leaves the history
// of the browser with the redirect.
func opening(pages http.Handler, key string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", pages)
	mux.HandleFunc("GET /open", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Referrer-Policy", "no-referrer")
		if !equal(r.URL.Query().Get("key"), key) {
			http.Error(w, "the key is not of this start: open the address that redstartctl console prints", http.StatusForbidden)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: cookieName, Value: key, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
		// A page of this site: a redirect would be part of the navigation of the site that has the
		// link.
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, `<!doctype html><meta http-equiv="refresh" content="0; url=/"><title>Redstart console</title><a href="/">Open</a>`)
	})
	return mux
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// listenLoopback refuses addresses that other machines reach.
func listenLoopback(ctx context.Context, addr string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("--addr %s: %w", addr, err)
	}
	if at, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !at.IsLoopback()) {
		return nil, fmt.Errorf("--addr %s: the pages are for this machine only: use a loopback address such as 127.0.0.1:7380", addr)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("--addr %s: %w", addr, err)
	}
	return listener, nil
}

// serveUntil serves until ctx ends, and cuts off the streams.
func serveUntil(ctx context.Context, listener net.Listener, handler http.Handler, log *slog.Logger) error {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	err := server.Close()
	if end := <-served; !errors.Is(end, http.ErrServerClosed) {
		err = errors.Join(err, end)
	}
	return err
}
