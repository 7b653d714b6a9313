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

// conn is one connection, which all callers of a node share. No call has to pass through a
// goroutine of the connection:
//
//   - A caller appends its command to the write buffer and itself to the queue, under one lock. If
//     no caller is writing, it writes until the buffer is empty. Commands that arrive during a
//     write leave with the next write.
//   - If no caller is reading, the caller becomes the leader and reads. It delivers each reply to
//     the head of the queue until it has its own reply and the read buffer is empty. Then it hands
//     the role to the first waiting caller.
//
// So a single caller writes and reads on its own goroutine, and many callers share system calls.
// Without callers, a goroutine of the connection reads. It receives pushes and notices a loss.
//
// The ticks of the clock end calls. A tick wakes a waiting caller. It interrupts the leader and the
// writer with a deadline on the connection. A call that was not written is then removed and never
// sent. A call that was written keeps its place in the queue, and its reply is discarded. A
// connection sends calls in the order of the queue, so an abandoned call can't overtake a newer one
// (A3).
type conn struct {
	line *line
	addr string // of the server
	nc   net.Conn
	dec  *wire.Decoder // used by the leader

	lastRead atomic.Int64 // clock: time of the last bytes
	renewal  renewal      // of the login

	mu        sync.Mutex
	err       error // why the connection ended
	queue     []*call
	head      int // index in queue: calls before it are answered
	unwritten int // index in queue: calls from it on are still in out
	dropped   int // calls in out that were abandoned
	out       wire.Buffer
	spare     wire.Buffer // the buffer of an earlier write, for reuse
	leader    *call       // the call that reads, or nil
	writer    *call       // the call that writes, or nil
	activity  int64       // number of calls so far, for the background reader
	expected  int         // calls answered since the last write, whose callers may send their next command
	abandoned int         // abandoned calls in the queue
	late      bool        // a write was interrupted, and its deadline is still set

	ended  chan struct{} // closed after err is set
	listen chan struct{} // holds one signal: the background reader reads at once
}

// The budgets of a connection. Calls beyond a budget fail at once.
const (
	maxQueued = 1 << 16   // calls without a reply
	maxOut    = 256 << 20 // unwritten bytes
	maxSpare  = 256 << 10 // bytes of a write buffer that is kept for reuse
)

// call is the commands of one caller on a connection.
type call struct {
	ctx   context.Context
	due   time.Duration // clock
	began time.Duration // clock
	wake  chan signal   // holds one signal; only for a parked caller

	// The lock of the connection protects these fields until the call is settled.
	from, to  wire.Mark // its place in the write buffer, until it is written
	want      int       // missing replies
	one       [1]Reply
	replies   []Reply
	err       error // why the connection ended
	parked    bool  // the caller waits on wake
	written   bool  // it may have reached the server
	abandoned bool  // the caller has left
	settled   bool  // answered, failed or abandoned

	sums []uint64 // of an abandoned call: the hashes of the keys of its reads, by reply; see sizeLater
}

type signal uint8

const (
	settled signal = iota
	lead
)

// newCall returns a call from the client's pool. Each client has its own pool, because a channel
// must not leave the testing/synctest bubble in which it was made.
func (c *Core) newCall(ctx context.Context, due, began time.Duration) *call {
	k, ok := c.calls.Get().(*call)
	if !ok {
		k = &call{wake: make(chan signal, 1)}
	}
	wake := k.wake
	*k = call{ctx: ctx, due: due, began: began, wake: wake}
	return k
}

// free puts a call into the pool. The call must not be in a queue.
func (c *Core) free(k *call) {
	if !k.abandoned {
		k.ctx, k.replies, k.one = nil, nil, [1]Reply{}
		c.calls.Put(k)
	}
}

func (k *call) expired(now time.Duration) bool {
	return now >= k.due || k.ctx.Done() != nil && k.ctx.Err() != nil
}

const forever = time.Duration(math.MaxInt64)

// background returns a call that stands for a goroutine of the connection.
func background() *call {
	return &call{ctx: context.Background(), due: forever, wake: make(chan signal, 1)}
}

var (
	errOverloaded = errors.New("too many calls without an answer")
	longAgo       = time.Unix(1, 0)
)

// send puts a call into the queue and starts to write it. After an error, the call is never sent.
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
	c.line.core.clock.Wake()
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

// settle ends a call. It reports whether the caller must be woken.
func (c *conn) settle(k *call) (wake bool) {
	k.settled = true
	wake, k.parked = k.parked, false
	return wake
}

// leave abandons a call.
func (c *conn) leave(k *call) {
	k.abandoned, k.settled, k.ctx = true, true, nil
	k.replies, k.one = nil, [1]Reply{}
	c.abandoned++
	if !k.written {
		c.dropped++
	}
}

// tick ends the calls whose time is over. It reports whether calls are in progress.
func (c *conn) tick(now time.Duration) (busy bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false
	}
	if w := c.writer; w != nil && w.due != forever && w.expired(now) {
		c.late = true
		_ = c.nc.SetWriteDeadline(longAgo)
	}

	if l := c.leader; l != nil && l.due != forever && (l.settled || l.expired(now)) {
		_ = c.nc.SetReadDeadline(longAgo)
	}
	for _, k := range c.queue[c.head:] {
		if k.abandoned {
			continue
		}
		busy = true
		if k == c.writer || k == c.leader || !k.expired(now) {
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

// fail ends the connection and all its calls.
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
		if k.abandoned {
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
