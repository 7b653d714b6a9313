package rig

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/faults"
)

const (
	startTimeout = 20 * time.Second
	configFile   = "redis.conf" // in the server's directory
)

// install is the command in each message about a missing program.
const install = "apt-get install -y redis-server redis-sentinel"

// baseConfig is the configuration of each server: loopback only, no persistence unless a test sets
// it, and replicas that attach without delay.
const baseConfig = `bind 127.0.0.1
protected-mode no
daemonize no
save ""
appendonly no
enable-debug-command yes
repl-diskless-sync yes
repl-diskless-sync-delay 0
repl-ping-replica-period 1
stop-writes-on-bgsave-error no
loglevel notice
`

// startServer starts a server of the test t, or a shared server if t is nil. It waits until the
// server replies.
func startServer(t testing.TB, name, program string, args ...string) (*Server, error) {
	s, err := newServer(t, name, program, baseConfig, args...)
	if err != nil {
		return nil, err
	}
	return s, s.first()
}

// newServer prepares the directory, the port and the configuration, which may contain {port} and
// {dir}.
func newServer(t testing.TB, name, program, config string, args ...string) (*Server, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return nil, fmt.Errorf("rig: %s is not on PATH: install it with: %s", program, install)
	}
	args, own := takeOwnClock(args)
	s := &Server{name: name, t: t}
	if s.dir, err = process.serverDir(name); err != nil {
		return nil, err
	}
	if s.port, err = faults.ReservePort(); err != nil {
		return nil, err
	}
	config += "dir {dir}\nunixsocket {dir}/sock\nlogfile {dir}/log\n"
	if !strings.Contains(config, "{port}") {
		config += "port {port}\n"
	}
	config = strings.NewReplacer("{dir}", s.dir, "{port}", strconv.Itoa(s.port.Number)).Replace(config)
	file := filepath.Join(s.dir, configFile)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	if slices.Contains(args, "--cluster-enabled") {
		// The default port of the bus, 10,000 above, is in the ephemeral range.
		if s.bus, err = faults.ReservePort(); err != nil {
			return nil, err
		}
		args = append(args, "--cluster-port", strconv.Itoa(s.bus.Number))
	}
	s.cmd = append([]string{path, file}, args...)
	if own {
		if s.cmd, err = ownClock(s.dir, s.cmd); err != nil {
			return nil, err
		}
	}
	for i, a := range args {
		if a == "--requirepass" && i+1 < len(args) {
			s.pass = args[i+1]
			s.user = url.UserPassword("", s.pass)
		}
	}
	process.add(s)
	if t != nil {
		t.Cleanup(func() {
			if t.Failed() && os.Getenv("REDSTART_RIG_LOG") != "" {
				t.Logf("log of %s:\n%s", s.name, s.Log())
			}
			s.end()
		})
	}
	return s, nil
}

// first starts a new server, and ends a server that can't start.
func (s *Server) first() error {
	err := s.launch()
	if err != nil {
		s.end()
	}
	return err
}

// launch starts the process and waits until it replies.
func (s *Server) launch() error {
	// The port is reserved, but another program may have bound it. So try again for a moment.
	var err error
	for range 3 {
		if err = s.exec(); err != nil {
			return err
		}
		if err = s.ready(); err == nil {
			return nil
		}
		tail := s.Log()
		s.kill()
		if !strings.Contains(tail, "Address already in use") {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

// exec starts the process and does not wait for a reply.
func (s *Server) exec() error {
	cmd := exec.Command(s.cmd[0], s.cmd[1:]...)
	cmd.Dir = s.dir
	// The server prints a configuration error and does not log it.
	out, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := process.start(cmd); err != nil {
		return fmt.Errorf("rig: %s: %w", s.name, err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		cmd.Wait() // its error is only the signal that ended it
	}()
	s.mu.Lock()
	s.proc, s.exited, s.stopped = cmd, exited, false
	s.mu.Unlock()
	return nil
}

// ready waits until the server replies to PING and has loaded its data.
func (s *Server) ready() error {
	s.mu.Lock()
	exited := s.exited
	s.mu.Unlock()
	deadline := time.Now().Add(startTimeout)
	for wait := time.Millisecond; ; wait = min(2*wait, 20*time.Millisecond) {
		reply, err := s.do(time.Second, "PING")
		if err == nil && reply == "PONG" {
			return nil
		}
		select {
		case <-exited:
			return fmt.Errorf("rig: %s did not start:\n%s", s.name, tail(s.Log(), 15))
		case <-time.After(wait):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("rig: %s does not answer after %v: %w\n%s", s.name, startTimeout, err, tail(s.Log(), 15))
		}
	}
}

// startAll starts servers in parallel.
func startAll(servers []*Server) error {
	errs := make(chan error, len(servers))
	for _, s := range servers {
		go func() { errs <- s.first() }()
	}
	var all []error
	for range servers {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

func tail(log string, n int) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
