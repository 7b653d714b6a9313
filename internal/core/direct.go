package core

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// A worker makes any call keep its deadline, but costs two goroutine switches and smaller
// batches on the wire. Where the client library can't block out of its context's reach, the caller
// makes the call itself. What it hands over is a watched call, a reusable context: once per tick of the
// clock somebody looks whether the caller's own context has ended or the command timeout has passed, and
// then wakes the caller. The library looks at no context in two places, and a direct call must not meet them:
//
//   - In a full ring. Direct calls (watches × perWatch) and workers (perRing) together fill less than the
//     ring. A call that was given up leaves its place in the ring taken, so the link is proven anew: by
//     a worker's call that was sent later and answered, since answers come in order.
//   - Behind another's dial. A connection that came or went has to be proven, too. A dial
//     waits for direct calls to end, which they do soon on a broken connection, or gives up.
type watched struct {
	parent context.Context
	due    time.Duration
	done   chan struct{} // holds one
	fired  atomic.Bool
	dialed bool // by the caller's goroutine: the library may still look at it
	home   *watch

	prev, next *watched
}

// fresh is how long after its last reply a connection counts as answering.
const fresh = 50 * time.Millisecond

// perWatch bounds the calls in one share of the registry, and so, times shares, the part of
// the ring (1,024) that direct calls fill.
const perWatch = 64

type watches [8]watch

// perRing bounds the workers' calls in the ring of a connection.
const perRing = 448

type watch struct {
	mu    sync.Mutex
	first *watched
	count int
	free  *watched
	_     [64]byte
}

var _ context.Context = (*watched)(nil)

func (d *watched) Deadline() (time.Time, bool) { return time.Time{}, false }
func (d *watched) Done() <-chan struct{}       { return d.done }
func (d *watched) Value(any) any               { return nil }
func (d *watched) Err() error {
	if d.fired.Load() {
		return context.Canceled
	}
	return nil
}

// begin registers a call, or returns nil when there is no room.
func (w *watches) begin(ctx context.Context, due time.Duration) *watched {
	home := &w[rand.Uint32()%uint32(len(w))]
	home.mu.Lock()
	defer home.mu.Unlock()
	if home.count >= perWatch {
		return nil
	}
	home.count++
	d := home.free
	if d == nil {
		d = &watched{done: make(chan struct{}, 1), home: home}
	} else {
		home.free = d.next
	}
	d.parent, d.due = ctx, due
	d.prev, d.next = nil, home.first
	if home.first != nil {
		home.first.prev = d
	}
	home.first = d
	return d
}

// end takes a call out and reports whether it was woken early.
func (d *watched) end() (fired bool) {
	home := d.home
	home.mu.Lock()
	defer home.mu.Unlock()
	home.count--
	if d.prev != nil {
		d.prev.next = d.next
	} else {
		home.first = d.next
	}
	if d.next != nil {
		d.next.prev = d.prev
	}
	d.parent, d.prev, d.next = nil, nil, nil
	if d.fired.Load() {
		select {
		case <-d.done: // the answer came at the same moment
		default:
		}
		fired = true
		d.fired.Store(false)
	}
	if !d.dialed {
		d.next, home.free = home.free, d
	}
	return fired
}

// busy reports whether any calls are under way.
func (w *watches) busy() bool {
	for i := range w {
		home := &w[i]
		home.mu.Lock()
		busy := home.first != nil
		home.mu.Unlock()
		if busy {
			return true
		}
	}
	return false
}

// tick wakes the calls whose time is over, and reports whether any are under way.
func (w *watches) tick(now time.Duration) (busy bool) {
	for i := range w {
		home := &w[i]
		home.mu.Lock()
		for d := home.first; d != nil; d = d.next {
			if !d.fired.Load() && (now >= d.due || d.parent.Err() != nil) {
				d.fired.Store(true)
				d.done <- struct{}{}
			}
		}
		busy = busy || home.first != nil
		home.mu.Unlock()
	}
	return busy
}

// direct makes a call on the caller's goroutine. It reports false, having sent nothing, when that
// is not safe now.
func (c *Core) direct(ctx context.Context, l *link, j job, due time.Duration) (o outcome, woken, ok bool) {
	if l.ring == nil || !l.answers(c.clock.Now()) {
		return outcome{}, false, false
	}
	d := l.watches.begin(ctx, due)
	if d == nil {
		return outcome{}, false, false
	}
	// A dial waits for the direct calls that it finds registered, and a call goes on only if the connection is
	// still the proven one after it has registered. The clock is asked because it may
	// have fallen asleep before it could see the call.
	if !l.answers(c.clock.Now()) {
		d.end()
		return outcome{}, false, false
	}
	var err error
	if j.multi != nil {
		o.many = j.client.DoMulti(d, j.multi...)
		err = o.many[0].NonRedisError()
	} else {
		o.one = j.client.Do(d, j.cmd)
		err = o.one.NonRedisError()
	}
	dialed := d.dialed
	woken = d.end() && err != nil
	if woken {
		l.era.Add(1)
	}
	return o, woken, !dialed && (err == nil || !errors.Is(err, errDirectDial))
}

// answers reports whether the connection is the one that was proven, and has read something just now.
func (l *link) answers(now time.Duration) bool {
	return now-time.Duration(l.lastRead.Load()) < fresh && l.proven.Load() == l.era.Load()
}

// prove records that a worker's call that began in an era was answered.
func (l *link) prove(era int64) {
	if l.proven.Load() != era && l.era.Load() == era {
		l.proven.Store(era)
	}
}

// giveWay reports whether a dial has to be given up: because a direct call would make it, or
// because direct calls may be waiting for it without a look at their contexts. While another connection
// is open they are on that one.
func (l *link) giveWay(ctx context.Context) bool {
	if d, ok := ctx.(*watched); ok {
		d.dialed = true
		return true
	}
	for waited := time.Duration(0); l.watches.busy(); waited += dialPatience / 10 {
		if waited >= dialPatience {
			return l.up.Load() == 0
		}
		time.Sleep(dialPatience / 10)
	}
	return false
}

// dialPatience is how long a dial waits for direct calls to come back from the connection that was lost.
const dialPatience = 10 * time.Millisecond
