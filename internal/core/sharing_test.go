package core_test

import (
	"context"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
)

// countedConn counts the writes of a connection.
type countedConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c countedConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// Callers that got their replies together send their next commands in one write. The control is the
// number of commands. While a call reads a long reply, each caller sends at once: a goroutine that
// yields would wait until the long reply has been read.
func TestCallersThatAreAnsweredTogetherSendTogether(t *testing.T) {
	const rounds, commands = 50, 4 * 50
	if n := writesOfAnsweredCallers(t, rounds, false); n > rounds*3/2 {
		t.Errorf("%d writes for %d commands of callers whose replies had come together", n, commands)
	}
	if n := writesOfAnsweredCallers(t, rounds, true); n < commands*3/4 {
		t.Errorf("%d writes for %d commands next to a long reply, want one for each", n, commands)
	}
}

// writesOfAnsweredCallers returns how many writes 4 callers need for their second commands, after
// they got their first replies together. reading adds a call that reads a long reply.
func writesOfAnsweredCallers(t *testing.T, rounds int, reading bool) (second int64) {
	t.Helper()
	// not parallel: with one processor, the order of ready callers is fixed
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var writes atomic.Int64
	p := rig.NewProxy(t, rig.Standalone(t).Addr())
	c := open(t, p.URL(), timeout(10*time.Second), func(o *core.Options) {
		o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := new(net.Dialer).DialContext(ctx, network, addr)
			return countedConn{nc, &writes}, err
		}
	})
	if reading {
		release, err := core.TakeLong(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		defer release()
	}

	const callers = 4
	for range rounds {
		p.StallReplies()
		sent := p.Sent()
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				for range 2 {
					if _, err := c.Do(t.Context(), core.Write("INCR", "k")); err != nil {
						t.Error(err)
					}
				}
			})
		}
		rig.Eventually(t, 5*time.Second, "the first commands are sent", func() bool { return p.Sent() >= sent+callers*20 })
		before := writes.Load()
		p.Resume()
		wg.Wait()
		second += writes.Load() - before
	}
	t.Logf("%d writes in %d rounds, next to a long reply: %v", second, rounds, reading)
	return second
}
