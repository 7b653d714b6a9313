package lock

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	timesource "github.com/redstart-go/redstart/internal/clock"
)

// instant is one point in time by two clocks. The monotonic clock cannot be set, but it stops while
// the machine is suspended. The wall clock continues, but it can be set. A lease has ended if
// either clock is past its end.
type instant struct{ mono, wall time.Duration }

type clock func() instant

func newClock(source *timesource.Source) clock {
	base := source.Now()
	return func() instant {
		now := source.Now()
		return instant{now.Sub(base), time.Duration(now.UnixNano())}
	}
}

// lease is one acquisition. After the grant, it has the time until which the server cannot grant
// the lock to another owner.
type lease struct {
	id       string
	target   *target
	settings *callSettings
	fastArgs [3]string // ARGV of mutex_fast_acquire.lua; the first is ARGV of mutex_fast_release.lua

	token  int64 // 0 until the grant
	node   string
	start  instant
	clock  clock
	onLost func(*lease, error) // called after the contexts have ended

	ended            atomic.Bool           // set after the contexts have ended
	failure          atomic.Pointer[error] // error of the last renewal; nil after a success
	monoEnd, wallEnd atomic.Int64          // end of the lease by the local clocks, without the margin

	mu     sync.Mutex
	reason error // why the lease ended; nil while it is held
	cancel []context.CancelCauseFunc

	// The fields of the renewer, guarded by its mutex.
	dueAt      time.Duration // when the renewer checks the lease next
	renewAt    time.Duration
	maxHoldEnd time.Duration // end of MaxHold; 0 = no maximum
	heapIndex  int           // -1: not in the heap
	renewing   bool
}

// init sets the target and the settings, and creates the id of the owner.
func (l *lease) init(locker *Locker, t *target, c *callSettings) {
	l.id, l.target, l.settings = locker.newID(t, c), t, c
	l.fastArgs = [3]string{l.id, c.ttlArg, c.keyTTLArg}
	l.clock, l.onLost, l.heapIndex = locker.clock, locker.onLost, -1
}

// extend sets the end of the lease. It counts from the moment before the request was sent.
func (l *lease) extend(sent instant, span time.Duration) {
	l.monoEnd.Store(int64(sent.mono + span))
	l.wallEnd.Store(int64(sent.wall + span))
}

func (l *lease) expired(now instant) bool {
	return int64(now.mono) >= l.monoEnd.Load() || int64(now.wall) >= l.wallEnd.Load()
}

// check ends the lease if the clock is past its end. The holder calls it, because a process that
// was stopped may run the holder's code before the renewer's timer fires.
func (l *lease) check() {
	if !l.ended.Load() && l.expired(l.clock()) {
		l.lose(errLapsed)
	}
}

// lose ends the lease as lost. It returns false if the lease had ended before.
func (l *lease) lose(why error) bool {
	cause := why
	if failure := l.failure.Load(); failure != nil && why == errLapsed {
		// %s hides the class of the renewal's error: the class of this error is ErrLost
		cause = fmt.Errorf("%w: the last renewal failed: %s", why, (*failure).Error())
	}
	if !l.end(cause) {
		return false
	}
	l.onLost(l, why)
	return true
}

// end ends the lease once. Its contexts have ended when end returns.
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

// err returns why the lease ended, or nil while it is held. After the end of a context it is never
// nil.
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

// heldContext is a context that ends with a lease. Its Err compares the lease with the clock, so
// that the first call after a pause is right even if the renewer has not run.
type heldContext struct {
	context.Context
	lease *lease
}

func (c *heldContext) Err() error {
	c.lease.check()
	return c.Context.Err()
}
