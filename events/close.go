package events

import (
	"context"
	"fmt"
	"sync"
)

// lifetime ends a bus once. It counts what runs on the bus: Run of subscribers and outboxes, SSE
// streams and the janitor.
type lifetime struct {
	ctx    context.Context // ends when Close begins
	cancel context.CancelFunc

	mu      sync.Mutex
	running map[string]int
	idle    chan struct{} // closed when the bus is closed and nothing runs
	closed  bool
	release func() // removes the metrics
}

func (l *lifetime) init() {
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.running, l.idle = make(map[string]int), make(chan struct{})
}

// enter counts something that runs until leave is called. It returns ErrClosed after Close has
// begun.
func (l *lifetime) enter(what string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	l.running[what]++
	return nil
}

func (l *lifetime) leave(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running[what]--; l.running[what] == 0 {
		delete(l.running, what)
	}
	if l.closed && len(l.running) == 0 {
		close(l.idle)
	}
}

// open returns ErrClosed after Close has begun.
func (l *lifetime) open() error {
	if l.ctx.Err() != nil {
		return ErrClosed
	}
	return nil
}

// close begins to end the bus. Only the first call has an effect.
func (l *lifetime) close() {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	l.closed = true
	if len(l.running) == 0 {
		close(l.idle)
	}
	l.mu.Unlock()

	l.cancel()
	l.release()
}

// wait returns when nothing runs on the closed bus, or when ctx ends.
func (l *lifetime) wait(ctx context.Context, bus string) error {
	select {
	case <-l.idle:
		return nil
	default:
	}
	select {
	case <-l.idle:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.running) == 0 {
		return nil
	}
	return fmt.Errorf("events: close bus %q: still running: %v: %w: end their contexts, or give Close more time",
		bus, l.running, context.Cause(ctx))
}

// Close ends the bus in this process. It does not close the client. Subscribers end as if the
// context of Run ended: running handlers may continue for DrainTimeout, and waiting events are
// dropped. Close waits for the subscribers. If ctx ends first, Close returns an error with the
// cause of ctx, and the subscribers still end. Close removes the metrics of the bus from the
// client.
//
// After Close has begun, Publish, Subscriber, Run and Request return [ErrClosed], also a Request
// that waits. Other Live values of the client continue. A second Close waits like the first one.
func (l *Live) Close(ctx context.Context) error {
	l.life.close()
	return l.life.wait(ctx, l.name)
}

// Close ends the bus in this process. It does not close the client. Subscribers end as if the
// context of Run ended: running handlers may continue for DrainTimeout, and all other events return
// to the group. SSE streams and outboxes of the bus end. Close waits for them. If ctx ends first,
// Close returns an error with the cause of ctx, and they still end. Close removes the metrics of
// the bus from the client. Stored events stay stored.
//
// After Close has begun, the methods of the bus, its subscribers, dead letters and outboxes return
// [ErrClosed], and new streams receive status 503. Other Durable values of the same name continue.
// A second Close waits like the first one.
func (d *Durable) Close(ctx context.Context) error {
	d.life.close()
	d.stop()
	err := d.life.wait(ctx, d.name)
	if err == nil { // until then, Close of the client waits too
		d.unregister()
	}
	return err
}
