// Command cluster starts a larger shop on this machine from installed packages: three instances, a
// Redis cluster of three primaries and three replicas, and PostgreSQL. Ctrl-C stops all of it and
// deletes its data.
//
//	go run ./service/cluster [--port 8080]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/redstart-go/redstart/service/internal/postgres"
)

const instances = 3

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	port := flag.Int("port", 8080, "the first instance's port; the others' follow it. 0: any free ones")
	flag.Parse()
	if err := run(ctx, *port, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// run starts everything, prints the addresses and waits for ctx to end. flags go to the build of
// the shop.
func run(ctx context.Context, port int, out io.Writer, flags ...string) (err error) {
	dir, err := os.MkdirTemp("", "redstart-cluster")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	fmt.Fprintln(out, "Starting PostgreSQL …")
	sql, err := postgres.Start()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sql.Close()) }()
	database, err := sql.Create(ctx, "shop")
	if err != nil {
		return err
	}

	fmt.Fprintln(out, "Starting a Redis cluster …")
	redis, addrs, err := startRedis(ctx, dir)
	defer func() { err = errors.Join(err, redis.end()) }()
	if err != nil {
		return err
	}

	fmt.Fprintln(out, "Starting the shops …")
	binary := filepath.Join(dir, "shop")
	build := append([]string{"build", "-o", binary}, flags...)
	if said, err := exec.CommandContext(ctx, "go",
		append(build, "github.com/redstart-go/redstart/service")...).CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, said)
	}
	var shops group
	defer func() { err = errors.Join(err, shops.end()) }()
	for i := range instances {
		addr := "127.0.0.1:0"
		if port != 0 {
			addr = fmt.Sprint("127.0.0.1:", port+i)
		}
		lines, err := shops.start(dir, binary, "--addr", addr, "--demo", "--instance", fmt.Sprint("shop-", i+1),
			"--database-url", database, "--redis-url", "redis+cluster://"+strings.Join(addrs, ","))
		if err != nil {
			return err
		}
		if err := passOn(ctx, out, lines, i+1); err != nil {
			return err
		}
	}
	fmt.Fprintln(out, "The instances are one shop: each instance shows the changes of the others. Ctrl-C stops all of them.")
	<-ctx.Done()
	return nil
}

// passOn waits until a shop prints its address, and prints it.
func passOn(ctx context.Context, out io.Writer, lines <-chan string, number int) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case line, ok := <-lines:
			if !ok {
				return fmt.Errorf("shop %d ended; its error is above", number)
			}
			if strings.HasPrefix(line, "Shop:") {
				fmt.Fprintln(out, line)
				return nil
			}
		}
	}
}
