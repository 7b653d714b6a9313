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

// kind is the purpose of a connection. Writes take the ordinary connection, so that a node receives
// them in order (A3).
type kind uint8

const (
	ordinary kind = iota
	tracked       // the server pushes an invalidation when a key that was read here changes
	large         // reads with long replies, which would delay others: a pool of connections
	_             // long replies of tracked reads: a pool too
)

func (k kind) String() string {
	return [...]string{"main", "tracked", "large", "tracked-large"}[k]
}

func (k kind) tracks() bool { return k%2 == tracked }

func (k kind) pooled() bool { return k >= large }

// buffer returns the size of the read buffer. A longer string is read into its own allocation,
// without a copy.
func (k kind) buffer() int {
	if k.pooled() {
		return 8 << 10
	}
	return 64 << 10
}

// idle returns how long the connection has no reader after its last call. Then its own goroutine
// reads. Pushes must not wait.
func (k kind) idle() time.Duration {
	if k.tracks() {
		return time.Millisecond
	}
	return 20 * time.Millisecond
}

const (
	// keepAlive is the time between two PINGs on an idle connection. A dead connection is found
	// after keepAlive and patience.
	keepAlive = time.Second
	patience  = 3 * time.Second

	backoffMax = 200 * time.Millisecond // longest pause between failed dials
)

// line is a connection of one kind to one node. It connects when it is needed, and again after a
// loss.
type line struct {
	core *Core
	node *node
	kind kind

	conn       atomic.Pointer[conn]
	unanswered atomic.Int64 // bytes that an ended connection may still deliver to the server

	mu      sync.Mutex
	dialing *connecting
	failed  int           // failed dials in a row
	retryAt time.Duration // clock
	err     error         // error of the last dial
	wasLost bool

	// In a pool, protected by the lock of the pool:
	used     time.Duration // clock: when a call released it
	long     bool          // its call reads a long reply
	borrowed time.Time     // when a short read borrowed it
}

// connecting is one attempt to connect. All callers that need the connection wait for it.
type connecting struct {
	done chan struct{}
	conn *conn
	err  error
}

// get returns the connection, and connects if there is none. It waits until ctx ends or the call is
// due.
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
		return nil, fault.Classify(contextError(ctx), false)
	case <-core.clock.At(due):
		return nil, fault.Classify(fmt.Errorf("no connection to %s within %v: %w", l.node.address(),
			core.opt.CommandTimeout, errSilent), false)
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
	if err == nil && l.node.address() != c.addr { // findPrimary did not see this connection
		c.fail(errFormer)
	}
	switch { // before the callers learn of the failure: their next calls need the breaker
	case err == nil || ctx.Err() != nil: // connected, or the client is closing
	case core.clock.Now()-began >= core.opt.CommandTimeout/2:
		core.silent(l.node, began, err)
	default:
		core.lost(l.node, began, err)
	}
	close(d.done)

	if err == nil {
		l.up(c, restored)
	}
	opening := core.facts.Load() == nil && !core.opt.Lazy // then Open returns the error
	if err != nil && ctx.Err() == nil && !opening {
		core.Warn("redstart: cannot connect", l.node.addr, "node", l.node.address(), "connection",
			l.kind.String(), "reason", d.err)
	}
}

func (l *line) up(c *conn, restored bool) {
	select {
	case <-c.ended: // the connection ended before it was stored
		l.conn.CompareAndSwap(c, nil)
		return
	default:
	}
	l.core.replied(l.node, true)
	if restored {
		l.core.Warn("redstart: connection restored", l.node.addr, "node", l.node.address(), "connection", l.kind.String())
	}
	if l.kind == ordinary {
		l.core.relearn()
	}
}

// errFormer ends a connection whose server ceased to be the primary while it was made.
var errFormer = errors.New("the sentinels have announced another primary")

// connect dials and makes the handshake.
func (l *line) connect(ctx context.Context) (*conn, error) {
	core := l.core
	if core.opt.Endpoint.Mode == endpoint.Sentinel && l.node.address() == "" {
		if err := core.findPrimary(ctx); err != nil {
			return nil, err
		}
	}

	addr := l.node.address()
	nc, err := core.dialer.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	c := &conn{line: l, addr: addr, nc: nc, dec: wire.NewDecoder(l.kind.buffer()), ended: make(chan struct{}),
		listen: make(chan struct{}, 1)}
	c.lastRead.Store(int64(core.clock.Now()))
	if !core.conns.add(c) {
		_ = nc.Close()
		return nil, errClosed
	}

	if err := l.handshake(ctx, c); err != nil {
		c.fail(err)
		return nil, err
	}
	if !core.group.Go("reader of "+l.node.addr, func(context.Context) { c.watch(l.kind.idle()) }) {
		c.fail(errClosed)
		return nil, errClosed
	}
	return c, nil
}

// lost runs once for each connection that has ended.
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
	core.Warn("redstart: connection lost", l.node.addr, "node", l.node.address(), "connection",
		l.kind.String(), "reason", c.err)
}

// pushed handles a push of the server.
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

// ask sends requests of the call layer itself.
func (c *conn) ask(ctx context.Context, reqs []request) ([]Reply, error) {
	now := c.line.core.clock.Now()
	k := c.line.core.newCall(ctx, now+c.line.core.opt.CommandTimeout, now)
	if err := c.send(k, reqs); err != nil {
		return nil, err
	}
	c.wait(k)
	switch {
	case k.abandoned:
		return nil, c.line.core.noAnswer(c.line.node)
	case k.err != nil:
		return nil, k.err
	}
	replies := append([]Reply(nil), k.replies...)
	c.line.core.free(k)
	return replies, nil
}
