// Package flight runs one load per key at a time and gives its result to all callers that ask for
// the key while it runs (C9).
//
// The load runs under a context that carries the values of the first caller's context, but not its
// end:
//
//	caller 1 ──Join─┐                     ┌── cancelled: returns at once, the load continues
//	caller 2 ──────┴─ waits ──────────────┴── gets the value
//	load            ████████████████████▶
//
// The context of the load ends when the last caller has left, and when the Group is closed.
package flight

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

var (
	// ErrClosed is the error of Join after Close, and of the loads that Close ended.
	ErrClosed = errors.New("flight: closed")
	// ErrAbandoned is wrapped by the cause (context.Cause) of a load whose last caller left. The
	// cause of that caller's context is wrapped too.
	ErrAbandoned = errors.New("flight: the last caller left")
	// ErrGoexit is the result of a load that ended its goroutine by runtime.Goexit.
	ErrGoexit = errors.New("flight: the load called runtime.Goexit")
)

// PanicError is a panic of a load. Wait panics with it in every caller. Close returns a panic that
// no caller got.
type PanicError struct {
	Value any
	Stack []byte // of the load's goroutine

	seen atomic.Bool // a caller got it; the loads of one batch share it
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("panic in a load: %v\n\n%s", e.Value, e.Stack)
}

// Unwrap returns the value of the panic if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Group is a set of in-flight loads by key. The zero Group is ready. It must not be copied.
type Group[K comparable, V any] struct {
	mu      sync.Mutex
	calls   map[K]*call[V] // those that a new caller joins
	running map[*call[V]]struct{}
	closed  bool
	idle    chan struct{} // created by Close, closed when nothing is running
	unseen  *PanicError   // first panic that no caller got
}

type call[V any] struct {
	done   chan struct{} // closed after val, err and shared are set
	cancel context.CancelCauseFunc

	// The Group's lock guards these fields until done is closed. They don't change after that.
	waiters  int
	detached bool // continues without callers
	shared   bool // several callers took part
	finished bool
	val      V
	err      error
}

// wait waits for the result for one caller.
func (g *Group[K, V]) wait(ctx context.Context, key K, c *call[V], joined bool) (v V, shared bool, err error) {
	select {
	case <-c.done:
	case <-ctx.Done():
		if g.leave(context.Cause(ctx), key, c) {
			return v, joined, ctx.Err()
		}
		// The result came first.
	}
	if p, ok := c.err.(*PanicError); ok { // not errors.As: fn may return a wrapped PanicError as its error
		panic(p)
	}
	return c.val, c.shared, c.err
}

// add makes a call the one that new callers join. The caller holds the lock.
func (g *Group[K, V]) add(key K, c *call[V]) {
	if g.calls == nil {
		g.calls = make(map[K]*call[V])
		g.running = make(map[*call[V]]struct{})
	}
	g.calls[key] = c
	g.running[c] = struct{}{}
}

// finish publishes a result, unless Close has ended the call, and ends the load's context.
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
	if panicked && lost && !p.seen.Load() && g.unseen == nil {
		g.unseen = p
	}
	delete(g.running, c)
	if g.idle != nil && len(g.running) == 0 {
		close(g.idle)
		g.idle = nil
	}
	g.mu.Unlock()
	c.cancel(nil)
}

// leave removes a caller, with the cause of its context. It reports false if the result is already
// there.
func (g *Group[K, V]) leave(cause error, key K, c *call[V]) bool {
	g.mu.Lock()
	if c.finished {
		g.mu.Unlock()
		return false
	}
	c.waiters--
	last := c.waiters == 0 && !c.detached
	if last && g.calls[key] == c {
		delete(g.calls, key) // no caller joins a load that is being cancelled
	}
	g.mu.Unlock()
	if last {
		c.cancel(fmt.Errorf("%w: %w", ErrAbandoned, cause))
	}
	return true
}

// Forget detaches the in-flight load of key. Its callers still get its result; the next caller
// starts a new load. An invalidation calls it, so that a value whose load began before the
// invalidation does not reach a call that began after it (C1).
func (g *Group[K, V]) Forget(key K) {
	g.mu.Lock()
	delete(g.calls, key)
	g.mu.Unlock()
}

// ForgetFunc is Forget for every key for which match is true. It calls match under the Group's
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

// Waiters returns the number of callers that wait for the load of key that a new caller would join.
func (g *Group[K, V]) Waiters(key K) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c := g.calls[key]; c != nil {
		return c.waiters
	}
	return 0
}

// Close refuses new calls, cancels the context of every load with the cause ErrClosed, and makes
// every caller return ErrClosed. It waits until all loads have returned or ctx has ended. Its error
// says how many loads ignore their context, and wraps a *PanicError if no caller got the panic of a
// load. Close may be called again, to wait longer.
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
	if g.unseen != nil && !g.unseen.seen.Load() {
		return errors.Join(err, g.unseen)
	}
	return err
}
