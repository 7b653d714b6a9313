package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"time"
)

const (
	primaries = 3
	replicas  = 1 // per primary
	busOffset = 10_000
)

// settings are the settings of each node, here and in containers.
var settings = []string{"--cluster-enabled", "yes", "--appendonly", "yes", "--maxmemory-policy", "noeviction"}

var errNoRedis = errors.New("redis-server and redis-cli are missing; install them: apt-get update && apt-get install -y redis-server")

// startRedis starts a cluster and returns the addresses of its nodes. Also after an error, the
// started programs are in the group.
func startRedis(ctx context.Context, dir string) (running *group, addrs []string, err error) {
	running = &group{}
	for _, program := range []string{"redis-server", "redis-cli"} {
		if _, err := exec.LookPath(program); err != nil {
			return running, nil, errNoRedis
		}
	}
	for number := range primaries * (1 + replicas) {
		port, err := freePort()
		if err != nil {
			return running, nil, err
		}
		addr, err := startNode(running, dir, number, port, time.Second)
		if err != nil {
			return running, nil, err
		}
		addrs = append(addrs, addr)
	}
	for _, addr := range addrs {
		if err := answers(ctx, addr); err != nil {
			return running, nil, err
		}
	}
	create := append([]string{"--cluster", "create"}, addrs...)
	create = append(create, "--cluster-replicas", strconv.Itoa(replicas), "--cluster-yes")
	if said, err := exec.CommandContext(ctx, "redis-cli", create...).CombinedOutput(); err != nil {
		return running, nil, fmt.Errorf("redis-cli --cluster create: %w\n%s", err, said)
	}
	return running, addrs, nil
}

// startNode starts a node and returns its address. Its files in dir have its number. Other nodes
// report it as failed after timeout.
func startNode(running *group, dir string, number, port int, timeout time.Duration) (addr string, err error) {
	args := append([]string{"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir, "--save", "",
		"--appenddirname", fmt.Sprint("aof-", number),
		"--cluster-config-file", fmt.Sprintf("nodes-%d.conf", number), "--cluster-node-timeout",
		strconv.FormatInt(timeout.Milliseconds(), 10),
		"--loglevel", "warning"}, settings...)
	_, err = running.start(dir, "redis-server", args...)
	return fmt.Sprint("127.0.0.1:", port), err
}

// freePort returns a port that is free together with the port of the cluster bus, which is 10,000
// higher.
func freePort() (int, error) {
	for range 100 {
		first, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		port := first.Addr().(*net.TCPAddr).Port
		bus, busErr := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port+busOffset))
		if err := first.Close(); err != nil {
			return 0, err
		}
		if busErr == nil {
			return port, bus.Close()
		}
	}
	return 0, errors.New("no port is free together with the one 10,000 above it")
}

// answers waits until a server listens.
func answers(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("redis-server at %s does not listen: %w", addr, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
