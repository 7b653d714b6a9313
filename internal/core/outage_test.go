package core_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
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

// A server that dies and comes back is in the log: one line for each of connection lost, breaker opened, breaker closed
// and connection restored, with the node, however many calls failed.
func TestOutagesAreLogged(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	log := &journal{}
	c := open(t, server.URL(), timeout(200*time.Millisecond), func(o *core.Options) { o.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	server.Kill()
	refused := ""
	rig.Eventually(t, 10*time.Second, "the breaker stops calls", func() bool {
		err := get(t.Context(), c, "k")
		if err != nil {
			refused = err.Error()
		}
		return strings.Contains(refused, "circuit breaker")
	})
	if !strings.Contains(refused, server.Addr()) {
		t.Errorf("the breaker's error does not name the node %s: %s", server.Addr(), refused)
	}
	server.Restart()
	rig.Eventually(t, 10*time.Second, "calls work", func() bool { return get(t.Context(), c, "k") == nil })
	for _, message := range []string{"redstart: connection lost", "redstart: circuit breaker opened", "redstart: circuit breaker closed", "redstart: connection restored"} {
		rig.Eventually(t, 5*time.Second, message, func() bool { return log.count(message) > 0 })
		if n := log.count(message); n != 1 {
			t.Errorf("%q was logged %d times, want once", message, n)
		}
	}
	if log.count(server.Addr()) < 4 {
		t.Errorf("the lines do not name the node:\n%s", log.buf.String())
	}
}

// A lazy client on a silent server keeps the caller's deadline too, whatever the caller asks first (A1).
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
