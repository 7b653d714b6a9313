// Package logqueue passes log records to the user's log handler. A handler that is slow, hangs or
// panics delays no call. A warning that repeats is logged at most once per interval.
package logqueue

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// maxWaiting is how many records wait for the log handler. Further records are dropped, and the
// attribute "dropped" of a later record counts them.
const maxWaiting = 256

// Queue passes log records to the user's handler, in order. Its goroutine runs while records wait.
// So the handler delays no call and runs under no lock. The goroutine also calls the handler's
// Enabled.
type Queue struct {
	mu      sync.Mutex
	waiting []logged
	dropped int
	running bool
	closed  bool
	idle    chan struct{} // closed when a closed queue has passed on its last record
}

// logged is one record and its handler.
type logged struct {
	ctx     context.Context
	handler slog.Handler
	record  slog.Record
	dropped int // records before this one
}

// Logger returns a logger that passes its records through the queue.
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

// run passes on records until none waits.
func (q *Queue) run() {
	var l logged
	ended := false
	defer func() {
		if !ended { // the handler has ended the goroutine with runtime.Goexit
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

// next takes the first record, with the number of records that were dropped before it. It reports
// true when no record waits.
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

// lost counts a record whose handler panicked or called runtime.Goexit.
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
		_ = l.handler.Handle(l.ctx, l.record) // slog.Logger ignores this error too
	}
	return true
}

// Close drops new records. It waits until the handler has received the earlier ones.
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

// logHandler is the handler of the library's loggers.
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
