package events_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/eventview"
	"github.com/redstart-go/redstart/internal/rig"
)

// cutter opens connections that lose the replies to the next runs of scripts.
type cutter struct{ left atomic.Int64 }

func (c *cutter) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &cutConn{Conn: conn, cutter: c}, nil
}

// take reports whether the reply to this run is lost.
func (c *cutter) take() bool {
	for {
		left := c.left.Load()
		if left == 0 || c.left.CompareAndSwap(left, left-1) {
			return left > 0
		}
	}
}

type cutConn struct {
	net.Conn
	cutter *cutter
	cut    atomic.Bool
}

func (c *cutConn) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("EVALSHA")) && c.cutter.take() {
		c.cut.Store(true)
	}
	return c.Conn.Write(p)
}

func (c *cutConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == nil && c.cut.Load() {
		c.Conn.Close()
		return 0, errors.New("the reply is lost")
	}
	return n, err
}

// A read whose reply is lost runs again. If the second reply is lost too, the error says that the
// server is unavailable, and not that the outcome is unknown: nothing has changed. The control is a
// script that writes.
func TestA1_ALostReplyOfAReadIsUnavailable(t *testing.T) {
	t.Parallel()
	server, namespace := rig.Shared(t), rig.Prefix(t)
	writes := durable(t, open(t, server.URL(), namespace), events.DurableOptions{Partitions: 2})
	kill(t, writes, "mail", 3)
	must(t, writes.Pause(t.Context(), "mail"))

	c := &cutter{}
	client := open(t, server.URL(), namespace, func(cfg *redstart.Config) { cfg.Dialer = c.dial })
	bus, v := durable(t, client, events.DurableOptions{Partitions: 2}), view(t, client)
	letters, err := bus.DeadLetters("mail").List(t.Context(), "", 1)
	must(t, err)
	calls := map[string]func(ctx context.Context) error{
		"Group":    func(ctx context.Context) error { _, err := bus.Group(ctx, "mail"); return err },
		"Groups":   func(ctx context.Context) error { _, err := bus.Groups(ctx, "", 10); return err },
		"view":     func(ctx context.Context) error { _, err := v.Groups(ctx, "", 10); return err },
		"describe": func(ctx context.Context) error { _, err := v.Describe(ctx, "mail", 0, 2); return err },
		"blocked":  func(ctx context.Context) error { _, err := v.Blocked(ctx, "mail", 10); return err },
		"waiting":  func(ctx context.Context) error { _, err := v.Waiting(ctx, "mail", "a0", 0, 10, true); return err },
		"read": func(ctx context.Context) error {
			return v.Read(ctx, []eventview.Read{{Limit: 1, Bytes: 1}})[0].Err
		},
		"dead":   func(ctx context.Context) error { _, err := v.Dead(ctx, "mail", "", 10, true); return err },
		"letter": func(ctx context.Context) error { _, _, err := v.Letter(ctx, "mail", letters[0].ID); return err },
	}
	for name, call := range calls {
		must(t, call(t.Context())) // the server gets the script
		c.left.Store(1)
		if err := call(t.Context()); err != nil || c.left.Load() != 0 {
			t.Errorf("%s, one lost reply: %v, and %d replies were not lost", name, err, c.left.Load())
		}
		c.left.Store(2)
		err := call(t.Context())
		if !errors.Is(err, redstart.ErrUnavailable) || errors.Is(err, redstart.ErrIndeterminate) || c.left.Load() != 0 {
			t.Errorf("%s, two lost replies: %v, and %d replies were not lost", name, err, c.left.Load())
		}
		must(t, call(t.Context()))
	}

	must(t, bus.Resume(t.Context(), "mail"))
	c.left.Store(1)
	if err := bus.Pause(t.Context(), "mail"); !errors.Is(err, redstart.ErrIndeterminate) {
		t.Errorf("a lost reply of a script that writes: %v, want ErrIndeterminate", err)
	}
}
