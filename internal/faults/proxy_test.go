package faults_test

import (
	"bufio"
	"errors"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/faults"
	"github.com/redstart-go/redstart/internal/rig"
)

// line is a connection that sends inline commands and reads one-line replies.
type line struct {
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, addr string) *line {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &line{Conn: c, r: bufio.NewReader(c)}
}

func (l *line) send(t *testing.T, command string) {
	t.Helper()
	if _, err := l.Write([]byte(command + "\r\n")); err != nil {
		t.Fatal(err)
	}
}

func (l *line) reply(within time.Duration) (string, error) {
	l.SetReadDeadline(time.Now().Add(within))
	s, err := l.r.ReadString('\n')
	return s, err
}

func (l *line) expect(t *testing.T, want string) {
	t.Helper()
	if got, err := l.reply(5 * time.Second); err != nil || got != want+"\r\n" {
		t.Fatalf("reply %q, %v; want %q", got, err, want)
	}
}

func (l *line) silent(t *testing.T) {
	t.Helper()
	if got, err := l.reply(50 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("reply %q, %v; want none", got, err)
	}
}

func TestProxyPassesAndCounts(t *testing.T) {
	t.Parallel()
	p := rig.NewProxy(t, rig.Shared(t).Addr())
	l := dial(t, p.Addr())
	l.send(t, "PING")
	l.expect(t, "+PONG")
	rig.Eventually(t, 10*time.Second, "what went through is counted, which is just after it went", func() bool {
		return p.Sent() == 6 && p.Received() == 7 && p.Accepted() == 1 && p.Open() == 1
	})
	l.Close()
	rig.Eventually(t, 5*time.Second, "the closed connection is gone", func() bool { return p.Open() == 0 })
}

func TestProxyStall(t *testing.T) {
	t.Parallel()
	s := rig.Shared(t)
	p := rig.NewProxy(t, s.Addr())
	key := rig.Prefix(t)
	l := dial(t, p.Addr())
	l.send(t, "PING")
	l.expect(t, "+PONG")

	p.StallReplies()
	l.send(t, "INCR "+key)
	rig.Eventually(t, 5*time.Second, "the command is executed", func() bool { return s.CLI("GET", key) == "1" })
	l.silent(t)
	p.Resume()
	l.expect(t, ":1")

	p.StallRequests()
	l.send(t, "INCR "+key)
	l.silent(t)
	if got := s.CLI("GET", key); got != "1" {
		t.Fatalf("a stalled request arrived: %s", got)
	}
	p.Resume()
	l.expect(t, ":2")

	p.Stall()
	fresh := dial(t, p.Addr()) // accepted, silent
	fresh.send(t, "PING")
	fresh.silent(t)
	p.Resume()
	fresh.expect(t, "+PONG")
}

func TestProxyCutWhileStalled(t *testing.T) {
	t.Parallel()
	s := rig.Shared(t)
	p := rig.NewProxy(t, s.Addr())
	key := rig.Prefix(t)
	l := dial(t, p.Addr())
	p.StallReplies()
	l.send(t, "INCR "+key)
	rig.Eventually(t, 5*time.Second, "the command is executed", func() bool { return s.CLI("GET", key) == "1" })
	p.Cut()
	if got, err := l.reply(5 * time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("after Cut: %q, %v", got, err)
	}
	p.Resume()
	again := dial(t, p.Addr())
	again.send(t, "GET "+key)
	again.expect(t, "$1")
}

// Cut ends each connection that the proxy accepted before, including one that it has just accepted.
func TestProxyCutOfANewConnection(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	p := rig.NewProxy(t, server.Addr())
	for n := int64(1); n <= 300; n++ {
		c, err := net.Dial("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		for p.Accepted() < n {
			runtime.Gosched()
		}
		p.Cut()
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("connection %d outlived the cut: %v", n, err)
		}
		c.Close()
	}
}

func TestProxyReset(t *testing.T) {
	t.Parallel()
	p := rig.NewProxy(t, rig.Shared(t).Addr())
	l := dial(t, p.Addr())
	l.send(t, "PING")
	l.expect(t, "+PONG")
	p.Reset()
	if _, err := l.reply(5 * time.Second); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("after Reset: %v", err)
	}
}

func TestProxyRefuse(t *testing.T) {
	t.Parallel()
	p := rig.NewProxy(t, rig.Shared(t).Addr())
	l := dial(t, p.Addr())
	l.send(t, "PING")
	l.expect(t, "+PONG")
	inherited := faults.Inherit(t, p.Proxy) // as a process that is being started would have it
	defer inherited.Close()
	p.Refuse()
	if _, err := net.Dial("tcp", p.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("dial while refusing: %v", err)
	}
	l.send(t, "PING") // an old connection lives on
	l.expect(t, "+PONG")
	if err := p.Accept(); err != nil {
		t.Fatal(err)
	}
	l = dial(t, p.Addr())
	l.send(t, "PING")
	l.expect(t, "+PONG")
}

func TestProxyDelay(t *testing.T) {
	t.Parallel()
	p := rig.NewProxy(t, rig.Shared(t).Addr())
	p.Delay(100 * time.Millisecond)
	l := dial(t, p.Addr())
	start := time.Now()
	l.send(t, "PING")
	l.expect(t, "+PONG")
	if took := time.Since(start); took < 100*time.Millisecond {
		t.Fatalf("a delayed reply took %v", took)
	}
}

func TestProxyTargetDown(t *testing.T) {
	t.Parallel()
	s := rig.Standalone(t)
	p := rig.NewProxy(t, s.Addr())
	s.Kill()
	l := dial(t, p.Addr())
	if got, err := l.reply(5 * time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("target down: %q, %v", got, err)
	}
	s.Restart()
	l = dial(t, p.Addr())
	l.send(t, "PING")
	l.expect(t, "+PONG")
}
