package core_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
)

// sentinelStub answers each question for the primary with an address. It returns its own address,
// and sends the address of each answer to answered if there is space.
func sentinelStub(t *testing.T, primary *atomic.Pointer[string], answered chan<- string) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
				for in := bufio.NewScanner(conn); in.Scan(); {
					if strings.HasPrefix(in.Text(), "mymaster") { // the question ends with the name
						addr := *primary.Load()
						host, port, _ := net.SplitHostPort(addr)
						_, _ = fmt.Fprintf(conn, "*2\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(host), host, len(port), port)
						select {
						case answered <- addr:
						default:
						}
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// The sentinels announce another primary while the client connects to the old one. The old server
// still answers as a primary. The connection to it is not used.
func TestAConnectionToAFormerPrimaryIsNotUsed(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	former, latter := rig.Standalone(t), rig.Standalone(t)
	former.CLI("SET", "who", "former")
	latter.CLI("SET", "who", "latter")
	var announced atomic.Pointer[string]
	announce := func(s *rig.Server) { addr := s.Addr(); announced.Store(&addr) }
	announce(former)

	var armed atomic.Bool
	dialed, answered := make(chan error, 1), make(chan string)
	c := open(t, "redis+sentinel://"+sentinelStub(t, &announced, answered)+"/mymaster/0", timeout(10*time.Second), func(o *core.Options) {
		o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err == nil && addr == former.Addr() && armed.CompareAndSwap(true, false) {
				announce(latter)
				for known := 0; known < 2 && ctx.Err() == nil; { // the second question follows the first change
					select {
					case addr := <-answered:
						if addr == latter.Addr() {
							known++
						}
					case <-ctx.Done():
					}
				}
				dialed <- ctx.Err()
			}
			return nc, err
		}
	})
	who := func() (string, error) {
		reply, err := c.Do(t.Context(), core.Read("GET", "who"))
		if err != nil {
			return "", err
		}
		return reply.ToString()
	}
	if got, err := who(); got != "former" {
		t.Fatal(got, err)
	}

	armed.Store(true)
	former.CLI("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	rig.Eventually(t, 10*time.Second, "the client connects again", func() bool {
		_, _ = who() // a call in the failover may fail
		return !armed.Load()
	})
	if err := <-dialed; err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if got, err := who(); got == "former" {
			t.Fatal("a read reached the former primary")
		} else if err != nil {
			t.Log(err)
		}
	}
	if got, err := who(); got != "latter" {
		t.Error(got, err)
	}
}
