package events

import (
	"context"
	"errors"
	"time"
)

// start has a lane with events to handle worked on, as soon as a worker is free. It runs under the run's lock.
func (x *session) start(l *lane) {
	if l.begun == 0 || x.expired || !x.phase.serves() || l.stage != idle && l.stage != queued && l.stage != slotted {
		return
	}
	r := x.run
	l.to(runnable)
	r.runnable.push(l)
	r.spawn()
}

// spawn starts a worker if one is wanted.
func (r *durableRun) spawn() {
	if r.runnable.len() > 0 && r.workers < r.sub.opt.Concurrency && r.d.core.Group().Go("handler of durable events", func(context.Context) { r.work() }) {
		r.workers++
	}
}

// work is a worker: it goes from lane to lane while one has something to handle.
func (r *durableRun) work() {
	r.mu.Lock()
	defer r.mu.Unlock()
	ended := false
	defer func() { // under the lock
		r.workers--
		if !ended { // a handler called runtime.Goexit
			r.spawn()
		}
	}()
	for r.runnable.len() > 0 {
		l := r.runnable.pop()
		if l.stage == runnable {
			l.to(running)
			l.x.work(l)
		}
	}
	ended = true
}

// work handles what has begun in a lane, in order; after a window's worth it is another lane's turn.
func (x *session) work(l *lane) {
	for n := 0; x.phase.serves() && l.stage == running && l.begun > 0; n++ {
		if n == window && x.run.runnable.len() > 0 {
			l.to(runnable)
			x.run.runnable.push(l)
			return
		}
		if x.expired || x.until.passed(time.Now()) {
			x.stalled = true
			break
		}
		if !x.handle(l, l.queue.at(0)) {
			break
		}
	}
	x.leave(l)
}

// leave is what a worker does when it goes from a lane.
func (x *session) leave(l *lane) {
	if l.stage == running {
		l.to(slotted)
		if x.until.passed(time.Now()) {
			x.stalled = true
		} else { // a worker that ended by runtime.Goexit leaves what has begun to another
			x.start(l)
		}
	}
	if !x.phase.serves() {
		x.kick()
	}
	if x.phase != over {
		x.settle(l)
	}
	x.checked()
}

// handle makes one attempt, without the lock, and concludes it, with the lock. It reports whether the lane goes on.
func (x *session) handle(l *lane, h *held) (goes bool) {
	o, returned := x.run.sub.exited(nil, h.attempts), false
	x.running++
	l.since = time.Now()
	x.run.mu.Unlock()
	defer func() {
		x.run.mu.Lock()
		x.running--
		took := time.Since(l.since)
		l.took(took)
		x.took(took)
		goes = x.phase != over && x.conclude(l, h, o)
		if !returned { // runtime.Goexit: this goroutine ends
			x.leave(l)
		}
	}()
	x.attempt(l.channel, h, &o)
	returned = true
	return goes
}

// settle says what a lane without a worker does with its slot.
func (x *session) settle(l *lane) {
	switch {
	case l.stage == runnable || l.stage == running || l.stage == stopped || l.stage == removed:
	case l.stage == queued && l.queue.len() > 0 && x.phase.serves():
	case l.asks == fetching || l.asks == counting || l.asks == wanted && x.phase.serves():
	case l.queue.len() == 0 && x.remote[l]: // more comes from its parked list
		l.to(idle)
		x.kick()
	case l.queue.len() == 0:
		x.drop(l)
	case !x.phase.serves() || l.begun > 0:
		l.to(idle)
	case l.stage.holdsSlot() && x.run.ready.len() > 0: // others wait: to the back of the line
		l.to(idle)
		x.run.offer(l)
	default:
		x.run.offer(l)
	}
}

// conclude writes down how a handler ended, and reports whether the lane goes on.
func (x *session) conclude(l *lane, h *held, o outcome) bool {
	s := &x.run.sub.stats
	switch o.result {
	case handled:
		s.handled.Add(1)
		if x.run.sub.opt.Inbox > 0 && o.eventID != "" {
			x.outcomes.mark(scoped(l.channel, o.eventID))
		}
	case skipped:
		s.skipped.Add(1)
	case unhandled:
		s.unhandled.Add(1)
		if x.run.sub.opt.Unhandled == DeadLetterUnhandled {
			x.fail(l, h, failure{err: errUnhandled, cause: errUnhandled.Error(), discard: true})
			return true
		}
	case deferred:
		s.deferred.Add(1)
		x.postpone(l, h, o.failure.delay)
		return false
	case failed:
		if x.expired {
			return false // the next owner tries it again
		}
		if !x.phase.serves() && errors.Is(context.Cause(x.ctx), ErrStopping) {
			return false // given back, not counted
		}
		x.fail(l, h, o.failure)
		return l.stage == running
	}
	x.done(l, h)
	x.outcomes.ack(l.channel, h)
	if l.begun+l.asked <= window/2 {
		x.want(l)
	}
	x.kick()
	return true
}
