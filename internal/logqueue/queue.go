// Package logqueue stands between the library and the log handler of its user: a handler that is slow, hangs or panics
// delays no call, and a warning that repeats is logged now and then.
package logqueue

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// maxWaiting is how many records wait for the log handler. Further ones are dropped; the attribute dropped of a later one counts
// them.
const maxWaiting = 256

// Queue passes log records to the user's handler, in order, from a goroutine that runs while there are any. So a handler
// that is slow, hangs or panics delays no call and runs under no lock. The handler's Enabled is asked there too.
type Queue struct {
	mu      sync.Mutex
	waiting []logged
	dropped int
	running bool
	closed  bool
	idle    chan struct{} // closed when the goroutine has passed on what a closed queue holds
}

// logged is one record and the handler that it is for.
type logged struct {
	ctx     context.Context
	handler slog.Handler
	record  slog.Record
	dropped int // before it
}

// Logger returns a logger whose records go through the queue.
func (q *Queue) Logger(user *slog.Logger) *slog.Logger {
	if user.Handler() == slog.DiscardHandler {
		return user
	}
	return slog.New(&logHandler{q, user.Handler()})
}

func (q *Queue) add(l logged) {
	q.mu.Lock()
	defer q.mu.Unlock()

	if q.closed || len(q.waiting) >= maxWaiting {
		q.dropped++
		return
	}
	q.waiting = append(q.waiting, l)
	if !q.running {
		q.running = true
		go q.run()
	}
}

// run passes records on until none waits.
func (q *Queue) run() {
	var l logged
	ended := false
	defer func() {
		if !ended { // the handler has ended the goroutine
			q.lost(l)
			go q.run()
		}
	}()

	for {
		if l, ended = q.next(); ended {
			return
		}
		if !l.handle() {
			q.lost(l)
		}
	}
}

// next takes the first record, with the number of those that were dropped since the last. It reports true when none is left.
func (q *Queue) next() (l logged, empty bool) {
	q.mu.Lock()
	defer q.mu.Unlock()

	if len(q.waiting) == 0 {
		q.running, q.waiting = false, nil
		if q.idle != nil {
			close(q.idle)
		}
		return logged{}, true
	}
	l = q.waiting[0]
	q.waiting[0] = logged{}
	q.waiting = q.waiting[1:]
	l.dropped, q.dropped = q.dropped, 0
	return l, false
}

// lost counts a record that the handler did not take.
func (q *Queue) lost(l logged) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dropped += 1 + l.dropped
}

// handle reports false if the handler panics.
func (l *logged) handle() (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	if l.dropped > 0 {
		l.record.AddAttrs(slog.Int("dropped", l.dropped))
	}
	if l.handler.Enabled(l.ctx, l.record.Level) {
		_ = l.handler.Handle(l.ctx, l.record) // like slog.Logger
	}
	return true
}

// Close drops records from now on, and waits until the handler has those before.
func (q *Queue) Close(limit time.Duration) error {
	q.mu.Lock()
	q.closed = true
	idle := make(chan struct{})
	if q.running {
		q.idle = idle
	} else {
		close(idle)
	}
	q.mu.Unlock()

	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-idle:
		return nil
	case <-timer.C:
		return fmt.Errorf("the log handler has not returned within %v", limit)
	}
}

// logHandler is the handler of the library's own logger.
type logHandler struct {
	queue *Queue
	next  slog.Handler
}

func (h *logHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	h.queue.add(logged{ctx: context.WithoutCancel(ctx), handler: h.next, record: r.Clone()})
	return nil
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logHandler{h.queue, h.next.WithAttrs(attrs)}
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	return &logHandler{h.queue, h.next.WithGroup(name)}
}
