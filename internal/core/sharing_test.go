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
// number of commands.
func TestCallersThatAreAnsweredTogetherSendTogether(t *testing.T) {
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
	const callers, rounds = 4, 50
	var second int64
	for range rounds {
		p.StallReplies()
		sent := p.Sent()
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				for range 2 {
					if err := get(t.Context(), c, "k"); err != nil {
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
	t.Logf("%d writes in %d rounds", second, rounds)
	if second > rounds*3/2 {
		t.Errorf("%d writes for %d commands of callers whose replies had come together", second, rounds*callers)
	}
}
