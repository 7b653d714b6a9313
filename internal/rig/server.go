package rig

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/faults"
)

// Server is a process of redis-server, valkey-server or Sentinel.
//
// Its methods end the test if they fail, so only the goroutine of the test calls them.
type Server struct {
	name string // "standalone", "cluster-2": in messages and directory names
	dir  string
	port *faults.Port
	cmd  []string // program and arguments, the same for every start
	tls  *TLSFiles
	user *url.Userinfo // in URL; nil: the default user without a password
	pass string        // of the default user, for CLI
	id   string        // cluster node or sentinel id
	bus  *faults.Port  // cluster bus
	t    testing.TB    // nil: shared, no faults

	mu      sync.Mutex
	proc    *exec.Cmd
	exited  chan struct{} // closed once proc was waited for
	stopped bool          // by SIGSTOP
}

// Shared returns the plain server of this test process, which starts on first use. Parallel tests
// share it, each in its own [Prefix]. It has the two shipped ACL users, and the default user, which
// has all rights.
func Shared(t testing.TB) *Server {
	t.Helper()
	Need(t, TierServer)
	return process.standalone.get(t, func() (*Server, error) {
		users, err := usersFile(RunNamespace)
		if err != nil {
			return nil, err
		}
		return startServer(nil, "shared", "redis-server", "--include", users, "--acllog-max-len", "10000")
	})
}

// Standalone starts a server for this test, which ends with the test. The args are redis.conf
// directives as command line options: "--maxmemory", "8mb". Without args the server has no
// persistence and the defaults of Redis.
func Standalone(t testing.TB, args ...string) *Server {
	t.Helper()
	Need(t, TierServer)
	s, err := startServer(t, "standalone", "redis-server", args...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Replica starts a replica for this test and waits until it has all writes. addr is the address of
// the primary, or of a [Proxy] in front of it that can stall the replication alone.
func Replica(t testing.TB, addr string, args ...string) *Server {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	s := Standalone(t, append([]string{"--replicaof", host + " " + port}, args...)...)
	Eventually(t, startTimeout, "the replica's link is up", func() bool { return s.Info("master_link_status") == "up" })
	return s
}

// URL returns the URL of the server, for redstart.Config.URL.
func (s *Server) URL() string {
	scheme := "redis"
	if s.tls != nil {
		scheme = "rediss"
	}
	return (&url.URL{Scheme: scheme, User: s.user, Host: s.Addr(), Path: "/0"}).String()
}

// URLAs returns the URL with the credentials of another user.
func (s *Server) URLAs(user, password string) string {
	as := Server{port: s.port, tls: s.tls, user: url.UserPassword(user, password)}
	return as.URL()
}

// Addr returns the host:port of the server.
func (s *Server) Addr() string { return s.port.Addr() }

// Port returns the port of the server.
func (s *Server) Port() int { return s.port.Number }

// Socket returns the path of the server's Unix socket.
func (s *Server) Socket() string { return filepath.Join(s.dir, "sock") }

// Dir returns the directory of the server, with its configuration, log and AOF.
func (s *Server) Dir() string { return s.dir }

// PID returns the process id, 0 while the server is down.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return 0
	}
	return s.proc.Process.Pid
}

// Log returns the log of the server.
func (s *Server) Log() string {
	b, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Stop freezes the process (SIGSTOP). Connections stay open without replies, and only the kernel
// accepts new connections.
func (s *Server) Stop() {
	s.owned().Helper()
	s.signal(syscall.SIGSTOP)
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
}

// Continue ends Stop.
func (s *Server) Continue() {
	s.owned().Helper()
	s.mu.Lock()
	s.stopped = false
	s.mu.Unlock()
	s.signal(syscall.SIGCONT)
}

// Kill ends the process at once (SIGKILL). The port and the data stay for Restart.
func (s *Server) Kill() {
	s.owned().Helper()
	s.signal(syscall.SIGKILL)
	s.gone()
}

// Shutdown ends the process with SIGTERM. The server writes its data if it has persistence.
func (s *Server) Shutdown() {
	t := s.owned()
	t.Helper()
	s.mu.Lock()
	exited := s.exited
	s.mu.Unlock()
	s.signal(syscall.SIGCONT)
	s.signal(syscall.SIGTERM)
	select {
	case <-exited:
	case <-time.After(10 * time.Second):
		t.Fatalf("rig: %s ignored SIGTERM for 10 s", s.name)
	}
	s.gone()
}

// Restart starts the server again with the same port and data, and waits until it replies. It kills
// a running server first.
func (s *Server) Restart() {
	t := s.owned()
	t.Helper()
	s.kill()
	if err := s.launch(); err != nil {
		t.Fatal(err)
	}
}

// CLI runs one command as the default user and returns the reply as text: the elements of a list
// one per line, an error reply as "(error) …". It ends the test without a reply within 10 s. Each
// command has its own connection (see [Server.Conn]).
func (s *Server) CLI(args ...string) string {
	reply, err := s.Do(args...)
	if IsReply(err) {
		return text(err)
	}
	if err != nil {
		s.fail("rig: %s: %s: %v", s.name, strings.Join(args, " "), err)
	}
	return text(reply)
}

// Do runs one command as the default user, in at most 10 s. The reply is nil, string, int64 or
// []any. [IsReply] distinguishes an error reply from a failed connection. Do is safe for concurrent
// use.
func (s *Server) Do(args ...string) (any, error) {
	return s.do(10*time.Second, args...)
}

// CommandStats returns the number of calls of each command since the start or CONFIG RESETSTAT, by
// lower-case name ("get", "client|id"). Commands inside a script count in addition to the script.
func (s *Server) CommandStats() map[string]int64 {
	stats := map[string]int64{}
	for line := range strings.Lines(s.CLI("INFO", "commandstats")) {
		name, rest, ok := strings.Cut(strings.TrimSpace(line), ":calls=")
		if !ok {
			continue
		}
		calls, _, _ := strings.Cut(rest, ",")
		n, err := strconv.ParseInt(calls, 10, 64)
		if err != nil {
			s.fail("rig: commandstats line %q: %v", line, err)
		}
		stats[strings.TrimPrefix(name, "cmdstat_")] = n
	}
	return stats
}

// Info returns one field of INFO, "" if there is none.
func (s *Server) Info(field string) string {
	return infoField(s.CLI("INFO", "everything"), field)
}

func infoField(info, field string) string {
	for line := range strings.Lines(info) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && name == field {
			return value
		}
	}
	return ""
}

func (s *Server) do(timeout time.Duration, args ...string) (any, error) {
	c, err := s.dial(timeout)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.do(timeout, args...)
}

// dial opens a connection as the default user.
func (s *Server) dial(timeout time.Duration) (*conn, error) {
	raw, err := net.DialTimeout("tcp", s.Addr(), timeout)
	if err != nil {
		return nil, err
	}
	if s.tls != nil {
		config, err := s.tls.Config()
		if err != nil {
			raw.Close()
			return nil, err
		}
		raw = tls.Client(raw, config)
	}
	c := newConn(raw)
	if s.pass != "" {
		if _, err := c.do(timeout, "AUTH", s.pass); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

// owned returns the test that owns this server. A shared server refuses faults.
func (s *Server) owned() testing.TB {
	if s.t == nil {
		panic("rig: " + s.name + " is shared by all tests of this process: a test that needs a fault starts its own server")
	}
	return s.t
}

func (s *Server) fail(format string, args ...any) {
	if s.t == nil {
		panic(fmt.Sprintf(format, args...))
	}
	s.t.Helper()
	s.t.Fatalf(format, args...)
}

func (s *Server) signal(sig syscall.Signal) {
	s.mu.Lock()
	proc := s.proc
	s.mu.Unlock()
	if proc == nil {
		s.fail("rig: %s is not running", s.name)
		return
	}
	if err := proc.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.fail("rig: %s: %v: %v", s.name, sig, err)
	}
}

// gone waits until the process has ended.
func (s *Server) gone() {
	s.mu.Lock()
	exited := s.exited
	s.mu.Unlock()
	if exited != nil {
		<-exited
	}
	s.mu.Lock()
	s.proc, s.exited, s.stopped = nil, nil, false
	s.mu.Unlock()
}

// kill ends the process. It is no error if the process has ended already.
func (s *Server) kill() {
	s.mu.Lock()
	proc := s.proc
	s.mu.Unlock()
	if proc != nil {
		proc.Process.Kill() // fails only if the process has ended, and gone waits for that
	}
	s.gone()
}

// end ends the server and frees its port.
func (s *Server) end() {
	s.kill()
	s.port.Release()
	s.bus.Release()
	os.RemoveAll(s.dir)
	process.remove(s)
}

// up reports whether the process runs and is not frozen.
func (s *Server) up() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc != nil && !s.stopped
}
