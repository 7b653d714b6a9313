package events

import (
	"context"
	"fmt"
	"sync"
)

// lifetime ends a bus once, and knows what runs on it: Run of subscribers and outboxes, and SSE streams.
type lifetime struct {
	ctx    context.Context // ends when Close begins
	cancel context.CancelFunc

	mu      sync.Mutex
	running map[string]int
	idle    chan struct{} // closed when the last one of a closed bus ends
	closed  bool
	release func() // removes the metrics
}

func (l *lifetime) init() {
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.running, l.idle = make(map[string]int), make(chan struct{})
}

// enter counts something that runs until leave. It returns ErrClosed once Close has begun.
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

// open returns ErrClosed once Close has begun.
func (l *lifetime) open() error {
	if l.ctx.Err() != nil {
		return ErrClosed
	}
	return nil
}

// close begins the end. Only the first call does anything.
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

// wait returns when nothing runs on the closed bus, or ctx ends.
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
	return fmt.Errorf("events: close bus %q: still running: %v: %w: end their contexts, or give Close more time", bus, l.running, context.Cause(ctx))
}

// Close ends the bus in this process, and not the client. Subscribers end as when Run's context ends: running handlers have their
// DrainTimeout, and what waits in a queue is dropped. Close waits for that; when ctx ends first it returns an error with its cause, and
// Run still ends by itself. The bus' metrics are removed from the client.
//
// From then on Publish, Subscriber, Run and Request return ErrClosed; a Request that waits does too. Other Live values of the client
// continue. A second Close waits like the first.
func (l *Live) Close(ctx context.Context) error {
	l.life.close()
	return l.life.wait(ctx, l.name)
}

// Close ends the bus in this process, and not the client. Subscribers end as when Run's context ends: running handlers have their
// DrainTimeout, and everything else is given back for other processes. SSE streams and outboxes of the bus end. Close waits for
// that; when ctx ends first it returns an error with its cause, and the rest still ends by itself. The bus' metrics are removed
// from the client. What is stored stays.
//
// From then on the methods of the bus, its subscribers, dead letters and outboxes return ErrClosed, and new streams get 503. Other
// Durable values of the same name continue. A second Close waits like the first.
func (d *Durable) Close(ctx context.Context) error {
	d.life.close()
	d.stop()
	err := d.life.wait(ctx, d.name)
	if err == nil { // until then the client's Close waits too
		d.unregister()
	}
	return err
}
