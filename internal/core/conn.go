package core

import (
	"context"
	"errors"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/wire"
)

// conn is one connection, shared by all callers of a node. It has no goroutine that a call must pass through:
//
//   - A caller appends its command to the write buffer and itself to the queue, under one lock. If no caller is writing, it
//     writes the buffer, and repeats until the buffer is empty: commands that arrive during a write go out with the next.
//   - If no caller is reading, it reads (it is the leader). It delivers each reply to the head of the queue, until it has its
//     own reply and the read buffer is empty. Then it hands the role to the first caller that waits.
//
// So a lone caller writes and reads on its own goroutine, and many callers share system calls. While no caller is there, a
// goroutine of the connection reads: for pushes, and to notice a loss.
//
// The clock's ticks end calls: a caller that waits is woken; a leader and a writer are interrupted by a deadline of the
// connection. A call that has not been written is then removed and never sent. One that has been written keeps its place in
// the queue, and its reply is discarded. Since a connection sends calls in the order of the queue, an abandoned call can't
// overtake a newer one (A3).
type conn struct {
	line *line
	nc   net.Conn
	dec  *wire.Decoder // the leader's

	lastRead atomic.Int64 // clock: when bytes came last
	refresh  atomic.Int64 // wall clock, ns: when the credentials expire; 0 is never

	mu        sync.Mutex
	err       error // why it ended
	queue     []*call
	head      int // of queue: calls before it are answered
	unwritten int // of queue: calls from here on are still in out
	dropped   int // calls in out whose callers left
	out       wire.Buffer
	spare     wire.Buffer // used again
	leader    *call       // who reads, nil if no one
	writer    *call       // who writes, nil if no one
	activity  int64       // counts calls, for the background reader
	expected  int         // calls answered since the last write: their callers may send again, each its next command
	abandoned int         // calls in the queue whose callers left
	late      bool        // a write was interrupted: its deadline still stands

	ended chan struct{} // closed with err
}

// Budgets of a connection. Beyond them calls fail at once.
const (
	maxQueued = 1 << 16   // calls without a reply
	maxOut    = 256 << 20 // bytes that are not written yet
	maxSpare  = 256 << 10 // bytes of a write buffer that is kept
)

// call is one caller's commands on a connection.
type call struct {
	ctx   context.Context
	due   time.Duration // clock
	began time.Duration // clock
	wake  chan signal   // holds one: sent only to a parked caller

	// Under the connection's lock until the call is settled.
	from, to wire.Mark // in the write buffer, while it is not written
	want     int       // replies
	one      [1]Reply
	replies  []Reply
	err      error // the connection ended
	parked   bool  // the caller waits on wake
	written  bool  // it may have reached the server
	gone     bool  // the caller has left
	settled  bool  // answered, failed, or gone
}

type signal uint8

const (
	settled signal = iota
	lead
)

// newCall takes a call from the client's pool. The pool belongs to one client, because a call's channel must not leave the
// testing/synctest bubble in which it was made.
func (c *Core) newCall(ctx context.Context, due, began time.Duration) *call {
	k, ok := c.calls.Get().(*call)
	if !ok {
		k = &call{wake: make(chan signal, 1)}
	}
	wake := k.wake
	*k = call{ctx: ctx, due: due, began: began, wake: wake}
	return k
}

// free returns a call that is not in a queue any more.
func (c *Core) free(k *call) {
	if !k.gone {
		k.ctx, k.replies, k.one = nil, nil, [1]Reply{}
		c.calls.Put(k)
	}
}

func (k *call) over(now time.Duration) bool {
	return now >= k.due || k.ctx.Done() != nil && k.ctx.Err() != nil
}

const forever = time.Duration(math.MaxInt64)

// background stands for the goroutine of a connection, where a call is expected.
func background() *call {
	return &call{ctx: context.Background(), due: forever, wake: make(chan signal, 1)}
}

var (
	errOverloaded = errors.New("too many calls without an answer")
	longAgo       = time.Unix(1, 0)
)

// send puts a call into the queue and has it written. The error means that it will never be sent.
func (c *conn) send(k *call, reqs []request) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	if len(c.queue)-c.head >= maxQueued || c.out.Len() >= maxOut {
		return fault.New(fault.ErrUnavailable, errOverloaded, "send fewer calls at once")
	}

	k.from = c.out.Mark()
	for i := range reqs {
		reqs[i].addTo(&c.out)
		k.want += reqs[i].replies()
	}
	k.to = c.out.Mark()
	if k.want == 1 {
		k.replies = k.one[:0]
	} else {
		k.replies = make([]Reply, 0, k.want)
	}
	c.queue = append(c.queue, k)
	c.activity++
	if c.expected > 0 {
		c.expected--
	}

	if c.writer == nil {
		c.flush(k)
	}
	return nil
}

// wait returns when the call is settled.
func (c *conn) wait(k *call) {
	c.mu.Lock()
	for !k.settled {
		if c.leader == nil {
			c.leader = k
			c.mu.Unlock()
			c.read(k)
			c.mu.Lock()
			continue
		}
		k.parked = true
		c.mu.Unlock()
		if <-k.wake == settled {
			return
		}
		c.read(k)
		c.mu.Lock()
	}
	c.mu.Unlock()
}

// pop removes the head of the queue.
func (c *conn) pop() {
	c.queue[c.head] = nil
	c.head++
	switch {
	case c.head == len(c.queue):
		c.queue, c.head, c.unwritten = c.queue[:0], 0, 0
	case c.head >= 1024 && c.head >= len(c.queue)/2:
		n := copy(c.queue, c.queue[c.head:])
		clear(c.queue[n:])
		c.queue, c.unwritten, c.head = c.queue[:n], c.unwritten-c.head, 0
	}
}

// settle ends a call, and reports whether its caller must be woken.
func (c *conn) settle(k *call) (wake bool) {
	k.settled = true
	wake, k.parked = k.parked, false
	return wake
}

// leave abandons a call.
func (c *conn) leave(k *call) {
	k.gone, k.settled, k.ctx = true, true, nil
	k.replies, k.one = nil, [1]Reply{}
	c.abandoned++
	if !k.written {
		c.dropped++
	}
}

// tick ends the calls whose time is over, and reports whether calls are under way.
func (c *conn) tick(now time.Duration) (busy bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false
	}
	if w := c.writer; w != nil && w.due != forever && w.over(now) {
		c.late = true
		_ = c.nc.SetWriteDeadline(longAgo)
	}
	if l := c.leader; l != nil && l.due != forever && (l.settled || l.over(now)) {
		_ = c.nc.SetReadDeadline(longAgo)
	}
	for _, k := range c.queue[c.head:] {
		if k.gone {
			continue
		}
		busy = true
		if k == c.writer || k == c.leader || !k.over(now) {
			continue
		}
		parked := k.parked
		k.parked = false
		c.leave(k)
		if parked {
			k.wake <- settled
		}
	}
	return busy
}

// fail ends the connection and every call on it.
func (c *conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failLocked(err)
}

func (c *conn) failLocked(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	c.line.conn.CompareAndSwap(c, nil)
	_ = c.nc.Close()

	unanswered := 0
	for _, k := range c.queue[c.head:] {
		if k.written {
			unanswered += k.to.After(k.from)
		}
		if k.gone {
			continue
		}
		k.err = err
		if c.settle(k) {
			k.wake <- settled
		}
	}
	c.queue, c.head, c.unwritten, c.out, c.abandoned, c.dropped = nil, 0, 0, wire.Buffer{}, 0, 0
	c.line.unanswered.Add(int64(unanswered))
	close(c.ended)
	if !c.line.core.group.Go("loss of a connection", func(context.Context) { c.line.lost(c) }) {
		c.line.core.conns.remove(c)
	}
}
