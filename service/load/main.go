// Command load measures what the caches of the shop save. It sends the same requests over HTTP to
// two shops on one Redis and one PostgreSQL. One of the shops has no caches. It needs redis-server
// and PostgreSQL, stops after the measurement and deletes its data.
//
//	go run ./service/load [--clients 64] [--seconds 8]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/service/internal/postgres"
)

const (
	users  = 10_000
	orders = 5 // of each user
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	clients := flag.Int("clients", 64, "how many send requests at once, from 1 to 1000")
	seconds := flag.Int("seconds", 8, "for how long at each shop, from 1 to 120")
	flag.Parse()
	if *clients < 1 || *clients > 1000 || *seconds < 1 || *seconds > 120 {
		fmt.Fprintln(os.Stderr, "load: --clients must be 1 to 1000, --seconds must be 1 to 120")
		os.Exit(2)
	}
	if err := run(ctx, *clients, time.Duration(*seconds)*time.Second, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// run measures both shops one after the other and prints the table.
func run(ctx context.Context, clients int, d time.Duration, out, progress io.Writer) (err error) {
	fmt.Fprintln(progress, "Starting Redis and PostgreSQL …")
	url, stop, err := startRedis(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	sql, err := postgres.Start()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sql.Close()) }()

	var results []result
	for _, side := range []side{{name: "database alone", uncached: true}, {name: "with Redstart's caches"}} {
		database, err := sql.Create(ctx, "load"+strconv.Itoa(len(results)))
		if err != nil {
			return err
		}
		cfg := redstart.Config{URL: url, Namespace: "load" + strconv.Itoa(len(results)), CommandTimeout: 5 * time.Second}
		shop, err := open(ctx, side, cfg, database)
		if err != nil {
			return err
		}
		fmt.Fprintf(progress, "%s: %d clients for %v …\n", side.name, clients, d)
		r, err := shop.load(ctx, clients, d)
		if err = errors.Join(err, shop.close()); err != nil {
			return err
		}
		results = append(results, r)
	}
	return table(out, clients, d, results[0], results[1])
}

// startRedis starts a server without persistence on a free port.
func startRedis(ctx context.Context) (url string, stop func() error, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	addr := listener.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	if err := listener.Close(); err != nil {
		return "", nil, err
	}
	cmd := exec.Command("redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "",
		"--maxmemory-policy", "noeviction", "--loglevel", "warning")
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("redis-server does not start; "+
			"install it with apt-get update && apt-get install -y redis-server: %w", err)
	}
	stop = func() error {
		err := cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // reports the signal that we sent
		return err
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			return "redis://" + addr, stop, conn.Close()
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return "", nil, errors.Join(err, stop())
		}
		time.Sleep(10 * time.Millisecond)
	}
}
