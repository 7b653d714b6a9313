package redstarttest

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/embedded"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/clock"
	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/faults"
)

const (
	// commandTimeout is the default of clients. It is above the time that a busy machine needs.
	commandTimeout = 5 * time.Second
	// patience bounds each wait of a helper.
	patience = 30 * time.Second
	// spare is the time that a failed helper leaves for the cleanup, before the deadline of the
	// test.
	spare = time.Second
)

// Server is a server for one test. A proxy in this process is between the server and its clients,
// and creates the faults. The methods are safe for concurrent use. They end the test with t.Fatal,
// so only the goroutine of the test may call those that can fail.
type Server struct {
	t        testing.TB
	cfg      redstart.Config
	proxy    *faults.Proxy
	bubble   bool
	engine   *embedded.Server // nil: a real server
	source   *clock.Source    // nil: a real server
	upstream redstart.Config  // past the proxy
	recorder recorder

	mu      sync.Mutex
	clients []*redstart.Client
	broken  bool
	silent  bool
	direct  *redstart.Client // past the proxy, made by the first use
}

// Start starts a server that ends with the test. It is the embedded engine. If the environment
// variable REDSTART_TEST_URL is set, it is the real server at this URL, in a namespace of its own,
// which the end of the test deletes. Tests can run in parallel, each with its own server.
//
// In a testing/synctest bubble, the server is always the embedded engine, because time stands still
// while a goroutine waits for a socket.
//
// changes change the configuration of all clients. By default it has a CommandTimeout of 5 s, and a
// Namespace: "app", or a random one on a real server.
func Start(t testing.TB, changes ...func(*redstart.Config)) *Server {
	t.Helper()
	s := &Server{t: t, bubble: inBubble()}
	s.cfg.CommandTimeout = commandTimeout
	target := os.Getenv("REDSTART_TEST_URL")
	if s.bubble && target != "" {
		t.Log("redstarttest: start: this test runs in a bubble, so it uses the embedded engine and not REDSTART_TEST_URL")
		target = ""
	}
	dial := s.startEngine
	if target != "" {
		dial = func() func(context.Context) (net.Conn, error) { return s.startReal(target) }
	}
	s.proxy = faults.New(dial())
	s.proxy.ReadCommands(s.recorder.see)
	t.Cleanup(s.proxy.Close)
	s.open()
	for _, change := range changes {
		change(&s.cfg)
	}
	s.upstream.Namespace = s.cfg.Namespace
	t.Cleanup(s.end)
	return s
}

// startEngine starts the embedded engine, which clients reach through the proxy only.
func (s *Server) startEngine() func(context.Context) (net.Conn, error) {
	s.t.Helper()
	s.source = clock.NewSource()
	engine, err := embedded.Start(s.source.Context(s.t.Context()), embedded.Options{InMemory: true})
	if err != nil {
		s.t.Fatalf("redstarttest: start: %v", err)
	}
	s.t.Cleanup(func() { _ = engine.Close() }) // its error is always nil
	s.engine = engine
	s.cfg.Namespace = "app"
	s.upstream = redstart.Config{URL: engine.URL(), Dialer: engine.Dial, CommandTimeout: commandTimeout}
	return func(ctx context.Context) (net.Conn, error) { return engine.Dial(ctx, "", "") }
}

// startReal checks the URL of a real server. The proxy connects to its address.
func (s *Server) startReal(target string) func(context.Context) (net.Conn, error) {
	s.t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		u = &url.URL{} // the error may contain a password
	}
	if u.Scheme != "redis" && u.Scheme != "valkey" || strings.Contains(u.Host, ",") || u.Hostname() == "" {
		s.t.Fatalf("redstarttest: start: REDSTART_TEST_URL has the scheme %q and the host %q: "+
			"give the URL of one server without TLS, such as redis://127.0.0.1:6379/0", u.Scheme, u.Host)
	}
	addr := net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "6379"))
	s.cfg.URL, s.cfg.Namespace = target, "redstarttest-"+strings.ToLower(rand.Text()[:12])
	s.upstream = redstart.Config{URL: target, CommandTimeout: commandTimeout}
	return func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", addr) }
}

// bubbles counts the servers in bubbles. Each needs an address of its own, on which nothing
// listens.
var bubbles atomic.Int64

// open gives the proxy an address.
func (s *Server) open() {
	s.t.Helper()
	addr := ""
	if s.bubble {
		addr = fmt.Sprintf("redstarttest-%d.invalid:6379", bubbles.Add(1))
		s.cfg.Dialer = func(ctx context.Context, _, _ string) (net.Conn, error) { return s.proxy.Dial(ctx) }
	} else {
		port, err := faults.ReservePort()
		if err == nil {
			s.t.Cleanup(port.Release)
			addr, err = port.Addr(), s.proxy.Listen(port.Addr())
		}
		if err != nil {
			s.t.Fatalf("redstarttest: start: %v", err)
		}
	}
	u := &url.URL{Scheme: "redis", Path: "/0"}
	if s.cfg.URL != "" {
		u, _ = url.Parse(s.cfg.URL) // startReal has parsed it
	}
	u.Host = addr
	s.cfg.URL = u.String()
	if s.source != nil {
		s.t.Cleanup(clock.Register(s.source, addr))
	}
}

// Config returns the configuration of a client of this server, for code that opens its own. Faults,
// [Server.Advance] and [Published] include such a client. [Server.Settle], [Server.Heal] and
// [Server.Resume] do not wait for it, because the server does not know it.
func (s *Server) Config() redstart.Config { return s.cfg }

// URL returns the URL of the server, for code that is configured by a URL. On a real server, such
// code also needs the namespace of [Server.Config]. In a bubble there is no URL: use Config.
func (s *Server) URL() string {
	s.t.Helper()
	if s.bubble {
		s.t.Fatal("redstarttest: url: a server in a testing/synctest bubble has no port: open clients with Config or Client")
	}
	return s.cfg.URL
}

// Client returns a new client, which is closed at the end of the test. An error of its Close fails
// the test. Two clients share nothing in memory, like two processes. changes change the
// configuration of this client.
func (s *Server) Client(changes ...func(*redstart.Config)) *redstart.Client {
	s.t.Helper()
	cfg := s.cfg
	for _, change := range changes {
		change(&cfg)
	}
	client := s.connect(cfg)
	s.mu.Lock()
	s.clients = append(s.clients, client)
	s.mu.Unlock()
	return client
}

// connect opens a client that is closed at the end of the test. Faults end before: a client that
// closes can then release what it holds.
func (s *Server) connect(cfg redstart.Config) *redstart.Client {
	s.t.Helper()
	client, err := redstart.Open(s.t.Context(), cfg)
	if err != nil {
		s.t.Fatalf("redstarttest: client: %v", err)
	}
	s.t.Cleanup(func() {
		s.restore()
		if err := client.Close(); err != nil {
			s.t.Errorf("redstarttest: client: %v", err)
		}
	})
	return client
}

// cores returns the call layers of the clients that Client has opened.
func (s *Server) cores() []*core.Core {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*core.Core, len(s.clients))
	for i, c := range s.clients {
		all[i] = clientcore.Of(c)
	}
	return all
}

// past returns a client that no fault reaches.
func (s *Server) past() *core.Core {
	s.t.Helper()
	s.mu.Lock()
	client := s.direct
	s.mu.Unlock()
	if client == nil {
		client = s.connect(s.upstream)
		s.mu.Lock()
		s.direct = client
		s.mu.Unlock()
	}
	return clientcore.Of(client)
}

// within returns the context of a helper: at most 30 s, and less if the test must end before.
func (s *Server) within() (context.Context, context.CancelFunc) {
	end := time.Now().Add(patience)
	if t, ok := s.t.(interface{ Deadline() (time.Time, bool) }); ok && !s.bubble { // in a bubble it panics
		if last, limited := t.Deadline(); limited && last.Add(-spare).Before(end) {
			end = last.Add(-spare)
		}
	}
	return context.WithDeadline(s.t.Context(), end)
}

// inBubble reports whether the calling goroutine is in a testing/synctest bubble. Outside of one,
// Wait panics.
func inBubble() (in bool) {
	defer func() { _ = recover() }()
	synctest.Wait()
	return true
}
