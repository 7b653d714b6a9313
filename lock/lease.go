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
	id       string
	target   *target
	settings *callSettings
	fastArgs [3]string // ARGV of mutex_fast_acquire.lua; the first is ARGV of mutex_fast_release.lua

	token  int64 // 0 until it is given
	node   string
	start  instant
	clock  clock
	onLost func(*lease, error) // after the context has ended

	ended            atomic.Bool           // set once the contexts have ended
	failure          atomic.Pointer[error] // of the last renewal, nil after one that worked
	monoEnd, wallEnd atomic.Int64          // ends of the lease by our clocks, margin taken off

	mu     sync.Mutex
	reason error // it ended
	cancel []context.CancelCauseFunc

	// The keeper's, under its lock.
	dueAt      time.Duration // when to look at it next
	renewAt    time.Duration
	maxHoldEnd time.Duration // MaxHold, 0 = none
	heapIndex  int           // in the heap, -1 = not there
	renewing   bool
}

// init makes it an acquisition of a target, with an id of its own.
func (l *lease) init(locker *Locker, t *target, c *callSettings) {
	l.id, l.target, l.settings = locker.newID(t, c), t, c
	l.fastArgs = [3]string{l.id, c.ttlArg, c.keyTTLArg}
	l.clock, l.onLost, l.heapIndex = locker.clock, locker.onLost, -1
}

// extend counts a lease from the moment before its request was sent.
func (l *lease) extend(sent instant, span time.Duration) {
	l.monoEnd.Store(int64(sent.mono + span))
	l.wallEnd.Store(int64(sent.wall + span))
}

func (l *lease) expired(now instant) bool {
	return int64(now.mono) >= l.monoEnd.Load() || int64(now.wall) >= l.wallEnd.Load()
}

// check is the holder's own look at the clock: a process that was stopped may run its code before
// the keeper's timer fires.
func (l *lease) check() {
	if !l.ended.Load() && l.expired(l.clock()) {
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
	if l.reason != nil {
		return false
	}
	l.reason = cause
	for _, cancel := range l.cancel {
		cancel(cause)
	}
	l.ended.Store(true)
	return true
}

// err is why the lease has ended, nil while it lasts. After the end of a context it is never nil.
func (l *lease) err() error {
	l.check()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reason
}

// context derives a context that ends with the lease.
func (l *lease) context(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cancel = append(l.cancel, cancel)
	if l.reason != nil {
		cancel(l.reason)
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
