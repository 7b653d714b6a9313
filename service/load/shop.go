package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/service/internal/shop"
	"github.com/redstart-go/redstart/service/internal/store"
	"github.com/redstart-go/redstart/service/internal/web"
)

// shopConfig makes a part that serves the shop.
type shopConfig struct {
	Redis, Namespace string
	Database         string
	Uncached         bool
	Clients          int // the number of sessions to create
}

// shopReady is the answer of a shop that serves.
type shopReady struct {
	Addr    string
	Name    string   // of the session's cookie
	Cookies []string // one per client
}

// statements are the numbers that the database got.
type statements struct{ Reads, Writes int64 }

// shopPart serves a shop until its input ends. It answers each question with its statements.
func shopPart(in *json.Decoder, out *json.Encoder) (err error) {
	ctx := context.Background()
	var cfg shopConfig
	if err := in.Decode(&cfg); err != nil {
		return err
	}
	db, err := store.Open(ctx, cfg.Database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	client, err := redstart.Open(ctx, redstart.Config{URL: cfg.Redis, Namespace: cfg.Namespace, CommandTimeout: 5 * time.Second})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	if err := fill(ctx, db); err != nil {
		return err
	}
	// The limits are active but never reached, because the measurement excludes refused requests.
	much := []ratelimit.Rule{ratelimit.PerSecond(1_000_000)}
	service, err := shop.New(client, db, shop.Options{InsecureCookies: true, Uncached: cfg.Uncached,
		Limits: &shop.Limits{Free: much, Pro: much, LoginByAddress: much, LoginByPair: much, LoginByAccount: much},
	})
	if err != nil {
		return err
	}

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	handler := web.New(web.Options{Shop: service, Ready: db.Ping, Log: slog.New(slog.DiscardHandler), Engine: "load"})
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: handler}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		err = errors.Join(err, server.Close())
		if end := <-served; !errors.Is(end, http.ErrServerClosed) {
			err = errors.Join(err, end)
		}
	}()

	ready := shopReady{Addr: listener.Addr().String()}
	for i := range cfg.Clients {
		s, err := service.Sessions.Create(ctx, strconv.Itoa(i+1), shop.Visit{})
		if err != nil {
			return err
		}
		cookie := service.Sessions.Cookie(s)
		ready.Name, ready.Cookies = cookie.Name, append(ready.Cookies, cookie.Value)
	}
	if err := out.Encode(ready); err != nil {
		return err
	}
	return serve(in, out, func(bool) statements {
		reads, writes := db.Queries()
		return statements{reads, writes}
	})
}

// fill adds users and orders to the database. A statement with many rows is faster than a statement
// per row.
func fill(ctx context.Context, db *store.Store) error {
	for _, statement := range []string{
		`INSERT INTO users (email, name, password_hash, created_at)
			SELECT 'user' || n || '@example.com', 'User ' || n, 'none', now() FROM generate_series(1, ` + strconv.Itoa(users) + `) n`,
		`INSERT INTO orders (user_id, item, total_cents, status, created_at)
			SELECT u.id, 'Notebook, squared', 420, 'processed', now() FROM users u, generate_series(1, ` + strconv.Itoa(orders) + `)`,
	} {
		if _, err := db.DB().ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("fill: %w", err)
		}
	}
	return nil
}
