package core_test

import (
	"context"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
)

// With one processor, a goroutine that is ready runs between the calls of one caller, whose reads
// try again and do not wait. The control is a caller whose reads wait. On a busy machine, they
// often find their reply at once, and no other goroutine runs either.
func TestBusyReadsLetOtherGoroutinesRun(t *testing.T) {
	// not parallel: with one processor, a goroutine runs only when another yields or waits
	c := open(t, rig.Shared(t).URL(), timeout(10*time.Second))
	control := open(t, rig.Shared(t).URL(), timeout(10*time.Second), func(o *core.Options) {
		o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := new(net.Dialer).DialContext(ctx, network, addr)
			return &busyConn{Conn: nc}, err
		}
	})
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var ran atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				ran.Add(1)
				runtime.Gosched()
			}
		}
	}()
	defer func() { close(stop); <-stopped }()

	const rounds, calls = 40, 64
	var idle [2]int // rounds in which no other goroutine ran
	for range rounds {
		for i, c := range []*core.Core{c, control} {
			before := ran.Load()
			for range calls {
				if err := get(t.Context(), c, "k"); err != nil {
					t.Fatal(err)
				}
			}
			if ran.Load() == before {
				idle[i]++
			}
		}
	}
	if idle[0] > idle[1]+rounds/2 {
		t.Errorf("no other goroutine ran during %d of %d rounds of %d calls, in the control %d", idle[0], rounds, calls, idle[1])
	}
}

// busyConn records whether its reads may try again before they wait.
type busyConn struct {
	net.Conn
	busy atomic.Bool
}

func (c *busyConn) ReadBusily(on bool) { c.busy.Store(on) }

// The goroutine that reads while no caller does waits at once. The control is the read of a caller.
func TestReadsOfIdleConnectionsWait(t *testing.T) {
	t.Parallel()
	var last atomic.Pointer[busyConn]
	c := open(t, rig.Shared(t).URL(), timeout(10*time.Second), func(o *core.Options) {
		o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := new(net.Dialer).DialContext(ctx, network, addr)
			conn := &busyConn{Conn: nc}
			last.Store(conn)
			return conn, err
		}
	})
	for range 2 {
		if err := get(t.Context(), c, "k"); err != nil {
			t.Fatal(err)
		}
		rig.Eventually(t, 10*time.Second, "the read of a caller may try again", func() bool {
			return get(t.Context(), c, "k") == nil && last.Load().busy.Load()
		})
		rig.Eventually(t, 10*time.Second, "the read of the idle connection waits", func() bool {
			return !last.Load().busy.Load()
		})
	}
}
