// Package flight runs one load per key at a time and hands its result to everyone who asked for
// it meanwhile (guarantee C9).
//
// The load runs on a goroutine of its own, under a context that carries the values of the first
// caller's context but not its end:
//
//	caller 1 ──Join─┐                     ┌── cancelled: returns at once, the load goes on
//	caller 2 ──────┴─ waits ──────────────┴── gets the value
//	load            ████████████████████▶
//
// The load's context ends when the last caller has left, so that nobody's work is not done; it
// also ends when the Group is closed.
package flight

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

var (
	// ErrClosed is the error of Join after Close, and of the flights that Close ended.
	ErrClosed = errors.New("flight: closed")
	// ErrAbandoned is within the cause (context.Cause) of a load whose last caller left. The
	// reason why that one left is in it too.
	ErrAbandoned = errors.New("flight: the last caller left")
	// ErrGoexit is the result of a load that ended its goroutine by runtime.Goexit.
	ErrGoexit = errors.New("flight: the load called runtime.Goexit")
)

// PanicError is a panic of a load. Wait panics with it in every caller; a panic that nobody waited
// for any more is told by Close and to OnOrphan.
type PanicError struct {
	Value any
	Stack []byte // of the load's goroutine

	seen atomic.Bool // a caller got it: the loads of one batch share it
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("panic in a load: %v\n\n%s", e.Value, e.Stack)
}

// Unwrap returns the value that was panicked with, if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Group is a set of flights by key. The zero Group is ready. It must not be copied.
type Group[K comparable, V any] struct {
	// OnOrphan, if not nil, is told of a panic that no caller was left to see. It runs on the
	// load's goroutine. Set it before the first Join.
	OnOrphan func(key K, err *PanicError)

	mu      sync.Mutex
	calls   map[K]*call[V] // what a new caller joins
	running map[*call[V]]struct{}
	closed  bool
	idle    chan struct{} // made by Close, closed when nothing is running
	orphan  *PanicError   // the first one
}

type call[V any] struct {
	done   chan struct{} // closed once val, err and shared are set
	cancel context.CancelCauseFunc

	// Below: under the group's lock until done is closed, constant afterwards.
	waiters  int
	detached bool // goes on without waiters
	shared   bool // more than one caller took part
	finished bool
	val      V
	err      error
}

// wait is one caller's wait for a flight that it takes part in.
func (g *Group[K, V]) wait(ctx context.Context, key K, c *call[V], joined bool) (v V, shared bool, err error) {
	select {
	case <-c.done:
	case <-ctx.Done():
		if g.leave(context.Cause(ctx), key, c) {
			return v, joined, ctx.Err()
		}
		// The result came first.
	}
	if p, ok := c.err.(*PanicError); ok { // not errors.As: a wrapped one is an error that fn returned
		panic(p)
	}
	return c.val, c.shared, c.err
}

// add makes a call the one that new callers join. It holds the lock.
func (g *Group[K, V]) add(key K, c *call[V]) {
	if g.calls == nil {
		g.calls = make(map[K]*call[V])
		g.running = make(map[*call[V]]struct{})
	}
	g.calls[key] = c
	g.running[c] = struct{}{}
}

// finish publishes a result unless the waiters have been sent away, and ends the load's context.
func (g *Group[K, V]) finish(key K, c *call[V], v V, err error) {
	g.mu.Lock()
	lost := c.finished || c.waiters == 0 && !c.detached
	if !c.finished {
		c.val, c.err, c.finished = v, err, true
		close(c.done)
	}
	if g.calls[key] == c {
		delete(g.calls, key)
	}
	p, panicked := err.(*PanicError) // as in wait
	if panicked && !lost {
		p.seen.Store(true)
	}
	orphaned := panicked && lost && !p.seen.Load()
	if orphaned && g.orphan == nil {
		g.orphan = p
	}
	g.mu.Unlock()
	c.cancel(nil)

	// The flight counts as running until the hook has returned: Close waits for that as well.
	if orphaned && g.OnOrphan != nil {
		g.OnOrphan(key, p)
	}
	g.mu.Lock()
	delete(g.running, c)
	if g.idle != nil && len(g.running) == 0 {
		close(g.idle)
		g.idle = nil
	}
	g.mu.Unlock()
}

// leave takes a caller out, for a reason. It is false if the result is there already.
func (g *Group[K, V]) leave(cause error, key K, c *call[V]) bool {
	g.mu.Lock()
	if c.finished {
		g.mu.Unlock()
		return false
	}
	c.waiters--
	last := c.waiters == 0 && !c.detached
	if last && g.calls[key] == c {
		delete(g.calls, key) // nobody joins a flight that is being cancelled
	}
	g.mu.Unlock()
	if last {
		c.cancel(fmt.Errorf("%w: %w", ErrAbandoned, cause))
	}
	return true
}

// Forget detaches the flight of key, if there is one: its callers still get its result, whoever
// comes now starts a new one. This is how an invalidation keeps a value whose load began before it
// from a call that begins after it (guarantee C1).
func (g *Group[K, V]) Forget(key K) {
	g.mu.Lock()
	delete(g.calls, key)
	g.mu.Unlock()
}

// ForgetFunc is Forget for every key for which match is true; match is called under the Group's
// lock. A nil match means every key.
func (g *Group[K, V]) ForgetFunc(match func(K) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key := range g.calls {
		if match == nil || match(key) {
			delete(g.calls, key)
		}
	}
}

// Waiters is how many callers wait for the flight of key that a new caller would join.
func (g *Group[K, V]) Waiters(key K) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c := g.calls[key]; c != nil {
		return c.waiters
	}
	return 0
}

// Close refuses new calls, cancels the context of every load (cause ErrClosed), lets every caller
// return ErrClosed, and waits until all loads have returned or ctx has ended. It returns an error
// that says how many loads ignore their context, and a *PanicError if a load's panic found no
// caller. Close may be called again, to wait longer.
func (g *Group[K, V]) Close(ctx context.Context) error {
	g.mu.Lock()
	g.closed = true
	clear(g.calls)
	for c := range g.running {
		if !c.finished {
			c.err, c.finished = ErrClosed, true
			close(c.done)
		}
		c.cancel(ErrClosed)
	}
	var idle chan struct{}
	if len(g.running) > 0 {
		if g.idle == nil {
			g.idle = make(chan struct{})
		}
		idle = g.idle
	}
	g.mu.Unlock()

	if idle != nil {
		select {
		case <-idle:
		case <-ctx.Done():
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var err error
	if n := len(g.running); n > 0 {
		err = fmt.Errorf("flight: %d of the loads ignore their cancelled context: %w", n, context.Cause(ctx))
	}
	if g.orphan != nil && !g.orphan.seen.Load() {
		return errors.Join(err, g.orphan)
	}
	return err
}
