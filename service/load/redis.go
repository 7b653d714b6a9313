package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"syscall"
	"time"
)

// redisServer is a server without persistence on a free port of the loopback.
type redisServer struct {
	cmd *exec.Cmd
	url string
}

func startRedis(ctx context.Context) (*redisServer, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := listener.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	if err := listener.Close(); err != nil {
		return nil, err
	}
	s := &redisServer{url: "redis://" + addr, cmd: exec.Command("redis-server", "--bind", "127.0.0.1", "--port", port,
		"--save", "", "--maxmemory-policy", "noeviction", "--loglevel", "warning")}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("redis-server does not start; "+
			"install it with apt-get update && apt-get install -y redis-server: %w", err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			return s, conn.Close()
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return nil, errors.Join(err, s.stop())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (s *redisServer) pid() int { return s.cmd.Process.Pid }

func (s *redisServer) stop() error {
	err := s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait() // reports the signal that we sent
	return err
}
