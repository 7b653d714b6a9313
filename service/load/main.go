// Command load measures what the caches of the shop save. It sends the same requests over HTTP to
// two shops on one Redis and one PostgreSQL. One of the shops has no caches. It does so twice: with
// the database on this machine, and with a database whose answers take 3 ms, as one in another
// building does.
//
// Clients, shop, Redis, PostgreSQL and the delay are processes of their own, so their processor
// times are reported separately. The command needs redis-server and PostgreSQL, stops after the
// measurement and deletes its data.
//
//	go run ./service/load [--clients 64] [--seconds 8] [--latency 3ms]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/redstart-go/redstart/service/internal/postgres"
)

const (
	users  = 10_000
	orders = 5 // of each user
)

func main() {
	if part(os.Getenv(partVariable)) {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	clients := flag.Int("clients", 64, "how many send requests at once, from 1 to 1000")
	seconds := flag.Int("seconds", 8, "for how long at each shop, from 1 to 120")
	latency := flag.Duration("latency", 3*time.Millisecond, "of the slower database, up to 1s; 0 measures only the local one")
	flag.Parse()
	if *clients < 1 || *clients > 1000 || *seconds < 1 || *seconds > 120 || *latency < 0 || *latency > time.Second {
		fmt.Fprintln(os.Stderr, "load: --clients must be 1 to 1000, --seconds 1 to 120, --latency 0 to 1s")
		os.Exit(2)
	}
	latencies := []time.Duration{0}
	if *latency > 0 {
		latencies = append(latencies, *latency)
	}
	if err := run(ctx, *clients, time.Duration(*seconds)*time.Second, latencies, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// run measures both shops with each latency of the database, one after the other. It prints a table
// per latency.
func run(ctx context.Context, clients int, d time.Duration, latencies []time.Duration, out, progress io.Writer) (err error) {
	fmt.Fprintln(progress, "Starting Redis and PostgreSQL …")
	redis, err := startRedis(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, redis.stop()) }()
	sql, err := postgres.Start()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sql.Close()) }()

	pid, err := sql.PID()
	if err != nil {
		return err
	}

	names := []string{"database alone", "with the caches"}
	for i, latency := range latencies {
		var results []result
		for side, name := range names {
			fmt.Fprintf(progress, "%s, answers of the database after %v: %d clients for %v …\n", name, latency, clients, d)
			id := "load" + strconv.Itoa(i*len(names)+side)
			database, err := sql.Create(ctx, id)
			if err != nil {
				return err
			}
			m := measurement{
				shop:    shopConfig{Redis: redis.url, Namespace: id, Database: database, Uncached: side == 0, Clients: clients},
				latency: latency, redis: redis.pid(), sql: pid,
			}
			r, err := m.run(ctx, d)
			if err != nil {
				return err
			}
			results = append(results, r)
		}
		if err := table(out, clients, d, latency, results[0], results[1]); err != nil {
			return err
		}
	}
	return nil
}
