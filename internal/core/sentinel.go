package core

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/wire"
)

// sentinels know where the primary is.
type sentinels struct {
	next int           // which one is asked first: the one that answered last
	busy chan struct{} // holds one: who asks
}

// findPrimary asks one sentinel after the other where the primary is, and closes the connections to another server.
func (c *Core) findPrimary(ctx context.Context) error {
	select {
	case c.sentinels.busy <- struct{}{}:
		defer func() { <-c.sentinels.busy }()
	case <-ctx.Done():
		return ctx.Err()
	}
	var answered atomic.Int64
	addrs := c.opt.Endpoint.Addrs
	from := c.sentinels.next
	addr, err := firstAnswer(ctx, len(addrs), func(ctx context.Context, i int) (string, error) {
		i = (from + i) % len(addrs)
		addr, err := c.askSentinel(ctx, addrs[i])
		if err != nil {
			return "", fmt.Errorf("sentinel %s: %w", addrs[i], err)
		}
		answered.Store(int64(i))
		return addr, nil
	})
	if err != nil {
		return err
	}
	c.sentinels.next = int(answered.Load())
	c.moveTo(addr)
	return nil
}

// moveTo makes a server the primary.
func (c *Core) moveTo(addr string) {
	n := c.topology.single
	if n.address() == addr {
		return
	}
	n.primary.Store(&addr)
	n.close(fmt.Errorf("the primary is %s now", addr))
}

func (c *Core) askSentinel(ctx context.Context, sentinel string) (addr string, err error) {
	e := &c.opt.Endpoint
	ctx, cancel := context.WithTimeout(ctx, c.opt.CommandTimeout)
	defer cancel()
	nc, err := c.dial(ctx, sentinel)
	if err != nil {
		return "", err
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { _ = nc.SetDeadline(longAgo) })()

	reply := Reply{}
	if e.SentinelPassword != "" {
		auth := plain("AUTH", e.SentinelPassword)
		if e.SentinelUsername != "" {
			auth = plain("AUTH", e.SentinelUsername, e.SentinelPassword)
		}
		if reply, err = exchange(nc, &auth); err != nil {
			return "", err
		}
		if err := reply.Err(); err != nil {
			return "", err
		}
	}
	where := plain("SENTINEL", "GET-MASTER-ADDR-BY-NAME", e.MasterSet)
	if reply, err = exchange(nc, &where); err != nil {
		return "", err
	}
	if reply.IsNil() {
		return "", fault.New(fault.ErrUnavailable, fmt.Errorf("it knows no master named %q", e.MasterSet), "check the name in REDIS_URL")
	}
	parts, err := reply.ToTuple(2)
	if err != nil {
		return "", err
	}
	host, err1 := parts[0].ToString()
	port, err2 := parts[1].ToString()
	return net.JoinHostPort(host, port), errors.Join(err1, err2)
}

// exchange sends one command and reads one reply, without a conn.
func exchange(nc net.Conn, command *request) (Reply, error) {
	var out wire.Buffer
	command.addTo(&out)
	if _, err := out.Write(nc); err != nil {
		return Reply{}, err
	}
	d := wire.NewDecoder(4 << 10)
	for {
		reply, _, err := d.Next()
		if err != wire.ErrNeedMore {
			return reply, err
		}
		if err := d.Fill(nc); err != nil {
			return Reply{}, err
		}
	}
}

func (c *Core) watchSentinels(ctx context.Context) {
	timer := time.NewTimer(sentinelEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-c.topology.soon:
		}
		if c.facts.Load() != nil {
			_ = c.findPrimary(ctx) // else the primary that is known stands
		}
		timer.Reset(sentinelEvery)
	}
}
