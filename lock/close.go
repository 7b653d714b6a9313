package lock

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// closeWait is how long Close waits for calls in flight. Waiters in a queue return at once. Other
// calls return with the server's answer or their deadline.
const closeWait = time.Second

// calls counts the calls that may leave something on the server, so that Close can release it after
// the last call.
type calls struct {
	count atomic.Int64 // number of calls, plus ended after the end
	once  sync.Once
	idle  chan struct{} // closed when the last call returns after the end
}

const ended = -1 << 62

// enter returns false after the end. If it returns true, leave must follow.
func (c *calls) enter() bool {
	if c.count.Add(1) > 0 {
		return true
	}
	c.leave()
	return false
}

func (c *calls) leave() {
	if c.count.Add(-1) == ended {
		c.once.Do(func() { close(c.idle) })
	}
}

// end makes enter return false.
func (c *calls) end() {
	if c.count.Add(ended) == ended {
		c.once.Do(func() { close(c.idle) })
	}
}

// close ends all held locks, and releases them and the places in queues while calls still work.
func (l *Locker) close(ctx context.Context) error {
	l.closed.Store(true)
	l.calls.end()
	close(l.done) // waiters return
	for _, ls := range l.renewer.all() {
		ls.lose(errClosed)
	}

	limit := time.NewTimer(closeWait)
	defer limit.Stop()
	select {
	case <-l.calls.idle:
	case <-limit.C:
	case <-ctx.Done():
	}

	l.unconfirmed.flush(ctx)
	return nil
}
