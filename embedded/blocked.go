package embedded

import (
	"slices"
	"time"
)

// blocked has the commands that wait for a key, in the order of their arrival.
type blocked struct {
	waiting map[place][]*waiter
	woken   []*waiter // by the command that runs
}

// waiter is a command that blocks its connection.
type waiter struct {
	call   *call
	places []place
	try    func(*call) (reply any, ready bool)
	empty  any // the reply after the timeout
	timer  *time.Timer
	done   chan struct{} // closed when it is answered or its connection is gone
}

// wait replies at once if it can. Otherwise it replies when one of the keys has changed or the
// timeout has passed (0: never). Inside a script or a transaction no command blocks.
func (c *call) wait(keys []string, limit time.Duration, empty any, try func(*call) (any, bool)) any {
	if reply, ready := try(c); ready {
		return reply
	}
	if c.script || c.queued {
		return empty
	}
	w := &waiter{call: c, try: try, empty: empty, done: make(chan struct{})}
	b := &c.server.blocked
	if b.waiting == nil {
		b.waiting = map[place][]*waiter{}
	}
	for _, key := range keys {
		at := place{c.space.number, key}
		if !slices.Contains(w.places, at) {
			w.places = append(w.places, at)
			b.waiting[at] = append(b.waiting[at], w)
		}
	}
	c.conn.waits = w
	if limit > 0 {
		w.timer = time.AfterFunc(limit, func() { c.server.timeUp(w) })
	}
	return silence{}
}

func (s *Server) timeUp(w *waiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.call.conn.waits == w {
		s.blocked.answer(w, w.empty)
	}
}

// wake marks the commands that wait for a key.
func (b *blocked) wake(at place) { b.woken = append(b.woken, b.waiting[at]...) }

// serve runs the woken commands again, until no command wakes another one.
func (b *blocked) serve() {
	for len(b.woken) > 0 {
		w := b.woken[0]
		b.woken = b.woken[1:]
		if w.call.conn.waits != w {
			continue
		}
		if reply, ready := w.try(w.call); ready {
			b.answer(w, reply)
		}
	}
	b.woken = nil
}

func (b *blocked) answer(w *waiter, reply any) {
	w.call.conn.send(reply)
	b.remove(w)
}

func (b *blocked) remove(w *waiter) {
	if w == nil || w.call.conn.waits != w {
		return
	}
	w.call.conn.waits = nil
	if w.timer != nil {
		w.timer.Stop()
	}
	for _, at := range w.places {
		rest := slices.DeleteFunc(b.waiting[at], func(other *waiter) bool { return other == w })
		if len(rest) == 0 {
			delete(b.waiting, at)
		} else {
			b.waiting[at] = rest
		}
	}
	close(w.done)
}
