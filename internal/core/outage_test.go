package core_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/rig"
)

// journal collects log lines.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) count(message string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.buf.String(), message)
}

// lines returns the lines that contain a message.
func (j *journal) lines(message string) (found []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for line := range strings.Lines(j.buf.String()) {
		if strings.Contains(line, message) {
			found = append(found, line)
		}
	}
	return found
}

// A server is killed, or stops answering, and returns. The log has one Warn for each event:
// connection lost, breaker opened, breaker closed, connection restored. Each has the node and the
// reason. The number of failed calls does not matter.
func TestOutagesAreLogged(t *testing.T) {
	for name, outage := range map[string]struct{ begin, end func(*rig.Server) }{
		"killed": {(*rig.Server).Kill, (*rig.Server).Restart},
		// until the client gives up the silent connections
		"stopped": {(*rig.Server).Stop, (*rig.Server).Continue},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := rig.Standalone(t)
			log := &journal{}
			c := open(t, server.URL(), timeout(200*time.Millisecond),
				func(o *core.Options) { o.Logger = slog.New(slog.NewTextHandler(log, nil)) })
			outage.begin(server)
			refused := ""
			rig.Eventually(t, 20*time.Second, "the breaker stops calls, and the connection is lost", func() bool {
				if err := get(t.Context(), c, "k"); err != nil {
					refused = err.Error()
				}
				return strings.Contains(refused, "circuit breaker") && log.count("redstart: connection lost") > 0
			})
			if !strings.Contains(refused, server.Addr()) {
				t.Errorf("the breaker's error does not name the node %s: %s", server.Addr(), refused)
			}
			outage.end(server)
			rig.Eventually(t, 20*time.Second, "calls work", func() bool { return get(t.Context(), c, "k") == nil })
			for message, reason := range map[string]bool{
				"redstart: connection lost": true, "redstart: circuit breaker opened": true,
				"redstart: circuit breaker closed": true, "redstart: connection restored": false,
			} {
				rig.Eventually(t, 10*time.Second, message, func() bool { return log.count(message) > 0 })
				lines := log.lines(message)
				if len(lines) != 1 {
					t.Errorf("%q was logged %d times, want once", message, len(lines))
				}
				line := lines[0]
				if !strings.Contains(line, "level=WARN") || !strings.Contains(line, "node="+server.Addr()) ||
					reason && !strings.Contains(line, "reason=") {
					t.Errorf("the line lacks its level, the node or the reason: %s", line)
				}
			}
		})
	}
}

// The error of an open breaker names the node and the last cause. It has the next step for this
// cause.
func TestTheBreakerNamesTheLastCause(t *testing.T) {
	t.Parallel()
	const commandTimeout = 200 * time.Millisecond
	open := func(t *testing.T, url string) *core.Core {
		return open(t, url, lazy, timeout(commandTimeout))
	}
	for name, start := range map[string]func(t *testing.T) (c *core.Core, addr, cause string){
		"refused": func(t *testing.T) (*core.Core, string, string) {
			proxy := rig.NewProxy(t, rig.Shared(t).Addr())
			proxy.Refuse()
			return open(t, proxy.URL()), proxy.Addr(), "connection refused; check that the server runs"
		},
		"refused cluster": func(t *testing.T) (*core.Core, string, string) {
			proxy := rig.NewProxy(t, rig.Shared(t).Addr())
			proxy.Refuse()
			return open(t, "redis+cluster://"+proxy.Addr()), proxy.Addr(), "connection refused; check that the server runs"
		},
		"silent": func(t *testing.T) (*core.Core, string, string) {
			proxy := rig.NewProxy(t, rig.Shared(t).Addr())
			proxy.Stall()
			return open(t, proxy.URL()), proxy.Addr(), "no answer from " + proxy.Addr() + " within 200ms"
		},
		"silent, and then refused": func(t *testing.T) (*core.Core, string, string) {
			proxy := rig.NewProxy(t, rig.Shared(t).Addr())
			proxy.Stall()
			c := open(t, proxy.URL())
			rig.Eventually(t, 10*time.Second, "the breaker opens", func() bool {
				_ = get(t.Context(), c, "k")
				return c.Nodes()[0].Opened > 0
			})
			proxy.Refuse()
			proxy.Cut()
			return c, proxy.Addr(), "connection refused; check that the server runs"
		},
		"replica": func(t *testing.T) (*core.Core, string, string) {
			replica := rig.Standalone(t, "--replicaof", "127.0.0.1", "1")
			var announced atomic.Pointer[string]
			addr := replica.Addr()
			announced.Store(&addr)
			return open(t, "redis+sentinel://"+sentinelStub(t, &announced, nil)+"/mymaster/0"), addr,
				"the sentinels name " + addr + ", but it is a replica; retry after the failover"
		},
		"password": func(t *testing.T) (*core.Core, string, string) {
			server := rig.Standalone(t, "--requirepass", "right")
			return open(t, "redis://:wrong@"+server.Addr()), server.Addr(), "check the user name and password"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, addr, cause := start(t)
			var err error
			complete := func() bool {
				err = get(t.Context(), c, "k")
				return err != nil && strings.Contains(err.Error(), "circuit breaker open") &&
					strings.Contains(err.Error(), addr) && strings.Contains(err.Error(), cause)
			}
			rig.EventuallyOr(t, 10*time.Second, "the breaker's error has "+cause, complete, func() string { return fmt.Sprint(err) })
			if !errors.Is(err, fault.ErrUnavailable) || errors.Is(err, fault.ErrDenied) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the class of %v is not ErrUnavailable alone", err)
			}
			t.Log(err)
		})
	}
}

// A lazy client on a silent server keeps the caller's deadline, for every kind of first call (A1).
func TestA1_LazyClientOnASilentServer(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	server.Stop()
	defer server.Continue()
	c := open(t, server.URL(), lazy, timeout(5*time.Second))
	var measured rounds
	for range 3 {
		measured.add().call(t.Context(), 50*time.Millisecond, func(ctx context.Context) {
			_ = c.PublishCommand(ctx)
			if err := get(ctx, c, "k"); err == nil {
				t.Error("a stopped server answered")
			}
		})
	}
	measured.check(t)
}
