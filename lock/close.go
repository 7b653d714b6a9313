package lock

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// closeWait is how long Close waits for calls that are on their way. Those in a queue return at once, the others with the
// server's answer or their deadline.
const closeWait = time.Second

// calls counts the calls that can leave something on the server, so that Close can release it after the last one.
type calls struct {
	count atomic.Int64 // and ended
	once  sync.Once
	none  chan struct{} // closed when the last call has left after the end
}

const ended = -1 << 62

// enter reports false after the end. Otherwise leave must follow.
func (c *calls) enter() bool {
	if c.count.Add(1) > 0 {
		return true
	}
	c.leave()
	return false
}

func (c *calls) leave() {
	if c.count.Add(-1) == ended {
		c.once.Do(func() { close(c.none) })
	}
}

// end refuses calls from now on.
func (c *calls) end() {
	if c.count.Add(ended) == ended {
		c.once.Do(func() { close(c.none) })
	}
}

// close ends what is held and hands it back, with the places in queues, while calls still work.
func (l *Locker) close(ctx context.Context) error {
	l.closed.Store(true)
	l.calls.end()
	close(l.done) // those who wait return
	for _, ls := range l.renewer.all() {
		ls.lose(errClosed)
	}

	limit := time.NewTimer(closeWait)
	defer limit.Stop()
	select {
	case <-l.calls.none:
	case <-limit.C:
	case <-ctx.Done():
	}
	l.unconfirmed.flush(ctx)
	return nil
}
