package core_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
)

// busyConn records whether its reads may try again before they wait. allowed counts the reads of
// callers that may, if it is not nil.
type busyConn struct {
	net.Conn
	busy    atomic.Bool
	allowed *atomic.Int64
}

func (c *busyConn) ReadBusily(on bool) {
	c.busy.Store(on)
	if on && c.allowed != nil {
		c.allowed.Add(1)
	}
}

// While two calls use connections for long replies, no read tries again. The control is one call.
func TestReadsNextToTwoLongRepliesWait(t *testing.T) {
	t.Parallel()
	var allowed atomic.Int64
	c := open(t, rig.Shared(t).URL(), timeout(10*time.Second), func(o *core.Options) {
		o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := new(net.Dialer).DialContext(ctx, network, addr)
			return &busyConn{Conn: nc, allowed: &allowed}, err
		}
	})
	first, err := core.TakeLong(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer first()
	read := func() {
		for range 100 {
			if err := get(t.Context(), c, "k"); err != nil {
				t.Fatal(err)
			}
		}
	}
	read()
	rig.Eventually(t, 10*time.Second, "a connection for short reads is open", func() bool { return core.FreeLong(c) > 0 })
	control := allowed.Load()

	second, err := core.TakeLong(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer second()
	before := allowed.Load()
	read()
	if n := allowed.Load() - before; n > 0 || control == 0 {
		t.Errorf("%d reads next to two long replies may try again, and %d next to one", n, control)
	}
}

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
