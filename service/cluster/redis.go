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
	replicas  = 1 // of each
	busOffset = 10_000
)

var errNoRedis = errors.New("redis-server and redis-cli are missing; install them: apt-get update && apt-get install -y redis-server")

// startRedis starts a cluster and returns its nodes' addresses. What runs is in the group, also after an error.
func startRedis(ctx context.Context, dir string) (running *group, addrs []string, err error) {
	running = &group{}
	for _, program := range []string{"redis-server", "redis-cli"} {
		if _, err := exec.LookPath(program); err != nil {
			return running, nil, errNoRedis
		}
	}
	for range primaries * (1 + replicas) {
		port, err := freePort()
		if err != nil {
			return running, nil, err
		}
		text := strconv.Itoa(port)
		_, err = running.start(dir, "redis-server", "--bind", "127.0.0.1", "--port", text, "--dir", dir, "--save", "", "--appendonly", "yes",
			"--appenddirname", "aof-"+text, "--cluster-enabled", "yes", "--cluster-config-file", "nodes-"+text+".conf", "--cluster-node-timeout", "1000",
			"--maxmemory-policy", "noeviction", "--loglevel", "warning")
		if err != nil {
			return running, nil, err
		}
		addrs = append(addrs, "127.0.0.1:"+text)
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

// freePort finds a port that is free together with the cluster bus' above it.
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

// answers waits until somebody listens.
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
