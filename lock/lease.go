package lock

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// instant is now by both clocks. The monotonic one can't be set, but stops while the machine is suspended; the
// wall clock goes on, but can be set. A lease has ended when either says so.
type instant struct{ mono, wall time.Duration }

type clock func() instant

func newClock() clock {
	base := time.Now()
	return func() instant {
		now := time.Now()
		return instant{now.Sub(base), time.Duration(now.UnixNano())}
	}
}

// lease is one acquisition, and once it has been given, until when the server can't have given it away.
type lease struct {
	id     string
	target *target
	terms  *terms
	ask    [3]string // ARGV of take.lua; the first is ARGV of give.lua

	token  int64 // 0 until it is given
	node   string
	begun  instant
	clock  clock
	onLost func(*lease, error) // after the context has ended

	over                atomic.Bool           // set once the contexts have ended
	failure             atomic.Pointer[error] // of the last renewal, nil after one that worked
	monoUntil, wallTill atomic.Int64          // ends of the lease by our clocks, margin taken off

	mu     sync.Mutex
	why    error // it ended
	cancel []context.CancelCauseFunc

	// The keeper's, under its lock.
	at       time.Duration // when to look at it next
	renewAt  time.Duration
	maxUntil time.Duration // MaxHold, 0 = none
	place    int           // in the heap, -1 = not there
	renewing bool
}

// init makes it an acquisition of a target, with an id of its own.
func (l *lease) init(locker *Locker, t *target, c *terms) {
	l.id, l.target, l.terms = locker.newID(t, c), t, c
	l.ask = [3]string{l.id, c.ttlArg, c.keptArg}
	l.clock, l.onLost, l.place = locker.clock, locker.onLost, -1
}

// extend counts a lease from the moment before its request was sent.
func (l *lease) extend(sent instant, span time.Duration) {
	l.monoUntil.Store(int64(sent.mono + span))
	l.wallTill.Store(int64(sent.wall + span))
}

func (l *lease) expired(now instant) bool {
	return int64(now.mono) >= l.monoUntil.Load() || int64(now.wall) >= l.wallTill.Load()
}

// check is the holder's own look at the clock: a process that was stopped may run its code before
// the keeper's timer fires.
func (l *lease) check() {
	if !l.over.Load() && l.expired(l.clock()) {
		l.lose(errLapsed)
	}
}

// lose ends the context, and reports whether that was still to be done.
func (l *lease) lose(why error) bool {
	cause := why
	if failure := l.failure.Load(); failure != nil && why == errLapsed {
		cause = fmt.Errorf("%w; the last renewal failed: %s", why, (*failure).Error()) // no class of a call's error: the lock is lost
	}
	if !l.end(cause) {
		return false
	}
	l.onLost(l, why)
	return true
}

// end closes the lease, once; contexts end before it returns.
func (l *lease) end(cause error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.why != nil {
		return false
	}
	l.why = cause
	for _, cancel := range l.cancel {
		cancel(cause)
	}
	l.over.Store(true)
	return true
}

// err is why the lease has ended, nil while it lasts. After the end of a context it is never nil.
func (l *lease) err() error {
	l.check()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.why
}

// context derives a context that ends with the lease.
func (l *lease) context(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cancel = append(l.cancel, cancel)
	if l.why != nil {
		cancel(l.why)
	}
	return &heldContext{ctx, l}, func() { cancel(context.Canceled) }
}

// heldContext ends with a lease. Its Err looks at the clock, so that the first question after a pause gets
// the true answer even before the keeper ran.
type heldContext struct {
	context.Context
	lease *lease
}

func (c *heldContext) Err() error {
	c.lease.check()
	return c.Context.Err()
}
