package events

import (
	"context"
	"errors"
	"time"
)

// start has a lane with events to handle worked on, as soon as a worker is free. It runs under the run's lock.
func (x *session) start(l *lane) {
	if l.busy || l.begun == 0 || l.stop || x.over || x.draining {
		return
	}
	r := x.run
	l.busy = true
	r.runnable.push(l)
	if r.workers < r.sub.opt.Concurrency && x.d.core.Group().Go("handler of durable events", func(context.Context) { r.work() }) {
		r.workers++
	}
}

// work is a worker: it goes from lane to lane while one has something to handle.
func (r *durableRun) work() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.runnable.len() > 0 {
		l := r.runnable.pop()
		l.x.work(l)
	}
	r.workers--
}

// work handles what has begun in a lane, in order; after a window's worth it is another lane's turn.
func (x *session) work(l *lane) {
	for n := 0; !x.over && !x.draining && !l.stop && l.begun > 0; n++ {
		if n == window && x.run.runnable.len() > 0 {
			x.run.runnable.push(l)
			return
		}
		if x.until.passed(time.Now()) {
			x.stalled = true
			break
		}
		h := l.queue.at(0)
		x.running++
		x.run.mu.Unlock()
		result, err := x.handle(l.channel, h)
		x.run.mu.Lock()
		x.running--
		if x.over {
			break
		}
		if !x.conclude(l, h, result, err) {
			break
		}
	}
	l.busy = false
	if x.draining {
		x.kick()
	}
	if !x.over {
		x.settle(l)
	}
}

// settle says what a lane without a worker does with its slot.
func (x *session) settle(l *lane) {
	switch {
	case l.busy || l.asked > 0 || l.wanted && !x.draining:
	case l.queue.len() == 0:
		x.drop(l)
	case x.draining || l.stop || l.begun > 0:
		x.run.release(l)
	case x.run.ready.len() > 0: // others wait: to the back of the line
		x.run.release(l)
		x.run.offer(l)
	default:
		x.want(l)
	}
}

type result uint8

const (
	handled result = iota
	unhandled
	skipped
	failed
)

func (x *session) handle(channel string, h *held) (result, error) {
	if h.skip {
		return skipped, nil
	}
	d := delivery{position: h.id, attempt: h.attempts, fence: x.fence}
	var err error
	if h.field == "?" {
		err = undecodable("the entry was written by another program", nil)
	} else {
		err = d.parse(h.body, x.d.foreign)
	}
	h.eventID = d.ID
	d.Subject = channel
	some := true
	if err == nil {
		some, err = x.run.sub.dispatch(x.ctx, &d, allHandlers)
	}
	switch {
	case err != nil:
		if x.ctx.Err() == nil || !errors.Is(context.Cause(x.ctx), ErrStopping) {
			x.run.sub.failed(x.ctx, &d, err)
		}
		return failed, err
	case !some:
		return unhandled, nil
	}
	return handled, nil
}

var errUnhandled = errors.New("events: no handler matches")

// conclude writes down how a handler ended, and reports whether the lane goes on.
func (x *session) conclude(l *lane, h *held, r result, err error) bool {
	s := &x.run.sub.stats
	switch r {
	case handled:
		s.handled.Add(1)
		if x.run.sub.opt.Inbox > 0 && h.eventID != "" {
			x.ops.mark(scoped(l.channel, h.eventID))
		}
	case skipped:
		s.skipped.Add(1)
	case unhandled:
		s.unhandled.Add(1)
		if x.run.sub.opt.Unhandled == DeadLetterUnhandled {
			x.failure(l, h, Discard(errUnhandled))
			return true
		}
	case failed:
		if x.draining && errors.Is(context.Cause(x.ctx), ErrStopping) {
			return false // given back, not counted
		}
		x.failure(l, h, err)
		return !l.stop
	}
	x.done(l, h)
	x.ops.ack(l.channel, h)
	if l.begun+l.asked <= window/2 {
		x.want(l)
	}
	x.kick()
	return true
}
