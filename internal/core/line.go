package core

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/internal/endpoint"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/wire"
)

// kind says what a connection is for. Writes take the ordinary one, so that a node gets them in order (A3).
type kind uint8

const (
	ordinary kind = iota
	tracked       // the server pushes when a key changes that was read here
	large         // reads whose replies are long, which would hold up the others: a pool of connections
	_             // large and tracked: a pool, too
)

func (k kind) String() string {
	return [...]string{"main", "tracked", "large", "tracked-large"}[k]
}

func (k kind) tracks() bool { return k%2 == tracked }

func (k kind) pooled() bool { return k >= large }

// buffer is the size of the read buffer. What does not fit is read into its own allocation, without a copy.
func (k kind) buffer() int {
	if k.pooled() {
		return 8 << 10
	}
	return 64 << 10
}

// Without a caller for this long, the connection's own goroutine reads. Pushes must not wait.
func (k kind) idle() time.Duration {
	if k.tracks() {
		return time.Millisecond
	}
	return 20 * time.Millisecond
}

const (
	// keepAlive is how often an idle connection is asked; with patience added it bounds how long a dead connection
	// looks alive.
	keepAlive = time.Second
	patience  = 3 * time.Second

	backoffMax = 200 * time.Millisecond // between failed dials
)

// line is the connection of one kind to one node. It connects when it is needed, and again after a loss.
type line struct {
	core *Core
	node *node
	kind kind

	conn       atomic.Pointer[conn]
	unanswered atomic.Int64 // bytes that an ended connection may still bring to the server

	mu      sync.Mutex
	dialing *connecting
	failed  int           // dials in a row
	retryAt time.Duration // clock
	err     error         // of the last dial
	wasLost bool

	used time.Duration // clock, under the lock of its pool: when a call gave it back
}

// connecting is one attempt to connect, for all who wait.
type connecting struct {
	done chan struct{}
	conn *conn
	err  error
}

// get returns the connection, and connects if there is none. It waits no longer than for ctx or until due.
func (l *line) get(ctx context.Context, due time.Duration) (*conn, error) {
	if c := l.conn.Load(); c != nil {
		return c, nil
	}
	core := l.core
	l.mu.Lock()
	if c := l.conn.Load(); c != nil {
		l.mu.Unlock()
		return c, nil
	}
	d := l.dialing
	if d == nil {
		if core.clock.Now() < l.retryAt {
			defer l.mu.Unlock()
			return nil, l.err
		}
		d = &connecting{done: make(chan struct{})}
		if !core.group.Go("connection to "+l.node.addr, func(ctx context.Context) { l.dial(ctx, d) }) {
			l.mu.Unlock()
			return nil, fault.Classify(errClosed, false)
		}
		l.dialing = d
	}
	l.mu.Unlock()

	select {
	case <-d.done:
		return d.conn, d.err
	case <-ctx.Done():
		return nil, fault.Classify(ended(ctx), false)
	case <-core.clock.At(due):
		return nil, fault.Classify(fmt.Errorf("no connection to %s within %v: %w", l.node.address(), core.opt.CommandTimeout, errSilent), false)
	}
}

func (l *line) dial(ctx context.Context, d *connecting) {
	core := l.core
	began := core.clock.Now()
	limited, cancel := context.WithTimeout(ctx, core.opt.CommandTimeout)
	defer cancel()
	c, err := l.connect(limited)

	l.mu.Lock()
	l.dialing = nil
	restored := false
	if err == nil {
		d.conn = c
		l.conn.Store(c)
		l.failed, l.retryAt, l.err = 0, 0, nil
		restored, l.wasLost = l.wasLost, false
	} else {
		d.err = fault.Foreign(err, false)
		l.err = d.err
		l.retryAt = core.clock.Now() + min(backoffMax, 5*time.Millisecond<<min(l.failed, 6)) - 5*time.Millisecond
		l.failed++
		l.wasLost = true
	}
	l.mu.Unlock()
	close(d.done)

	switch {
	case err == nil:
		l.up(c, restored)
	case ctx.Err() != nil: // the client is closing
	case core.clock.Now()-began >= core.opt.CommandTimeout/2:
		core.silent(l.node, began)
	default:
		core.lost(l.node, began)
	}
	opening := core.facts.Load() == nil && !core.opt.Lazy // Open returns the error
	if err != nil && ctx.Err() == nil && !opening {
		core.Warn("redstart: cannot connect", l.node.addr, "node", l.node.address(), "connection", l.kind.String(), "reason", d.err)
	}
}

func (l *line) up(c *conn, restored bool) {
	select {
	case <-c.ended: // before it was stored
		l.conn.CompareAndSwap(c, nil)
		return
	default:
	}
	l.node.replied(l.core.clock.Now())
	if restored {
		l.core.Warn("redstart: connection restored", l.node.addr, "node", l.node.address(), "connection", l.kind.String())
	}
	if l.kind == ordinary {
		l.core.relearn()
	}
}

// connect dials and introduces the client.
func (l *line) connect(ctx context.Context) (*conn, error) {
	core := l.core
	if core.opt.Endpoint.Mode == endpoint.Sentinel && l.node.address() == "" {
		if err := core.findPrimary(ctx); err != nil {
			return nil, err
		}
	}
	nc, err := core.dialer.Dial(ctx, l.node.address())
	if err != nil {
		return nil, err
	}
	c := &conn{line: l, nc: nc, dec: wire.NewDecoder(l.kind.buffer()), ended: make(chan struct{})}
	c.lastRead.Store(int64(core.clock.Now()))
	if !core.conns.add(c) {
		_ = nc.Close()
		return nil, errClosed
	}
	if err := l.introduce(ctx, c); err != nil {
		c.fail(err)
		return nil, err
	}
	if !core.group.Go("reader of "+l.node.addr, func(context.Context) { c.watch(l.kind.idle()) }) {
		c.fail(errClosed)
		return nil, errClosed
	}
	return c, nil
}

// lost is called once for each connection that has ended.
func (l *line) lost(c *conn) {
	core := l.core
	core.conns.remove(c)
	if l.kind.tracks() {
		core.hub.Flush()
	}
	if core.group.Context().Err() != nil || errors.Is(c.err, errClosed) {
		return
	}
	l.mu.Lock()
	l.wasLost = true
	l.mu.Unlock()
	core.Warn("redstart: connection lost", l.node.addr, "node", l.node.address(), "connection", l.kind.String(), "reason", c.err)
}

// pushed takes what the server sends unasked.
func (l *line) pushed(push *Reply) {
	parts, err := push.ToTuple(2)
	if err != nil {
		return
	}
	if what, err := parts[0].ToString(); err != nil || what != "invalidate" {
		return
	}
	if parts[1].IsNil() {
		l.core.hub.Flush()
		return
	}
	keys, _ := parts[1].ToArray()
	for i := range keys {
		if key, err := keys[i].ToString(); err == nil {
			l.core.hub.Invalidate(key)
		}
	}
}

// ask sends requests of the connection layer itself.
func (c *conn) ask(ctx context.Context, reqs []request) ([]Reply, error) {
	now := c.line.core.clock.Now()
	k := c.line.core.newCall(ctx, now+c.line.core.opt.CommandTimeout, now)
	if err := c.send(k, reqs); err != nil {
		return nil, err
	}
	c.wait(k)
	switch {
	case k.gone:
		return nil, fmt.Errorf("no answer from %s: %w", c.line.node.address(), errSilent)
	case k.err != nil:
		return nil, k.err
	}
	replies := append([]Reply(nil), k.replies...)
	c.line.core.free(k)
	return replies, nil
}
