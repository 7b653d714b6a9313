package events

import (
	"context"
	"errors"
	"time"
)

// makeRunnable puts a queue with counted attempts in line for a worker. The caller has the run's
// lock.
func (c *partitionConsumer) makeRunnable(q *channelQueue) {
	if q.started == 0 || c.expired || !c.phase.serves() || q.stage != idle && q.stage != queued && q.stage != slotted {
		return
	}
	r := c.run
	q.to(runnable)
	r.runnable.push(q)
	r.spawn()
}

// spawn starts a worker if a queue needs one.
func (r *durableRun) spawn() {
	if r.runnable.len() > 0 && r.workers < r.sub.opt.Concurrency &&
		r.d.core.Group().Go("handler of durable events", func(context.Context) { r.runWorker() }) {
		r.workers++
	}
}

// runWorker handles queues until none is runnable.
func (r *durableRun) runWorker() {
	r.mu.Lock()
	defer r.mu.Unlock()
	ended := false
	defer func() { // under the lock
		r.workers--
		if !ended { // a handler has called runtime.Goexit
			r.spawn()
		}
	}()
	for r.runnable.len() > 0 {
		q := r.runnable.pop()
		if q.stage == runnable {
			q.to(running)
			q.consumer.handleQueue(q)
		}
	}
	ended = true
}

// handleQueue handles the started events of a queue, in order. After countAhead events another
// queue gets the worker.
func (c *partitionConsumer) handleQueue(q *channelQueue) {
	for n := 0; c.phase.serves() && q.stage == running && q.started > 0; n++ {
		if n == countAhead && c.run.runnable.len() > 0 {
			q.to(runnable)
			c.run.runnable.push(q)
			return
		}
		if c.expired || c.until.passed(c.d.core.Time().Now()) {
			c.stalled = true
			break
		}
		if !c.handle(q, q.events.at(0)) {
			break
		}
	}
	c.leaveQueue(q)
}

// leaveQueue ends a worker's use of a queue.
func (c *partitionConsumer) leaveQueue(q *channelQueue) {
	if q.stage == running {
		q.to(slotted)
		if c.until.passed(c.d.core.Time().Now()) {
			c.stalled = true
		} else { // after runtime.Goexit another worker handles the started events
			c.makeRunnable(q)
		}
	}
	if !c.phase.serves() {
		c.wake()
	}
	if c.phase != over {
		c.reschedule(q)
	}
	c.checked()
}

// handle makes one attempt without the lock, and concludes it with the lock. It reports whether the
// worker goes on with the queue.
func (c *partitionConsumer) handle(q *channelQueue, e *queuedEvent) (goes bool) {
	o, returned := c.run.sub.exited(nil, e.attempts), false
	c.running++
	q.startedAt = time.Now()
	c.run.mu.Unlock()
	defer func() {
		c.run.mu.Lock()
		c.running--
		took := time.Since(q.startedAt)
		q.finished(took)
		c.took(took)
		goes = c.phase != over && c.conclude(q, e, o)
		if !returned { // runtime.Goexit: this goroutine ends
			c.leaveQueue(q)
		}
	}()
	c.attempt(q.channel, e, &o)
	returned = true
	return goes
}

// reschedule decides what a queue without a worker does with its slot.
func (c *partitionConsumer) reschedule(q *channelQueue) {
	switch {
	case q.stage == runnable || q.stage == running || q.stage == stopped || q.stage == removed:
	case q.stage == queued && q.events.len() > 0 && c.phase.serves():
	case q.request == fetching || q.request == counting || q.request == wanted && c.phase.serves():
	case q.events.len() == 0 && c.handedOut[q]: // the next poll asks for parked events
		q.to(idle)
		c.wake()
	case q.events.len() == 0:
		c.drop(q)
	case !c.phase.serves() || q.started > 0:
		q.to(idle)
	case q.stage.holdsSlot() && c.run.ready.len() > 0: // to the back of the line
		q.to(idle)
		c.run.offer(q)
	default:
		c.run.offer(q)
	}
}

// conclude records the outcome of an attempt, and reports whether the worker goes on with the
// queue.
func (c *partitionConsumer) conclude(q *channelQueue, e *queuedEvent, o outcome) bool {
	s := &c.run.sub.stats
	switch o.result {
	case handled:
		s.handled.Add(1)
		if c.run.sub.opt.Inbox > 0 && o.eventID != "" {
			c.outcomes.mark(scoped(q.channel, o.eventID))
		}
	case skipped:
		s.skipped.Add(1)
	case unhandled:
		s.unhandled.Add(1)
		if c.run.sub.opt.Unhandled == DeadLetterUnhandled {
			c.fail(q, e, failure{err: errUnhandled, cause: errUnhandled.Error(), discard: true})
			return true
		}
	case deferred:
		s.deferred.Add(1)
		c.postpone(q, e, o.failure.delay)
		return false
	case failed:
		if c.expired || c.phase == resetting {
			return false // the next owner tries the event again
		}
		if !c.phase.serves() && errors.Is(context.Cause(c.ctx), ErrStopping) {
			return false // given back; the attempt is not counted
		}
		c.fail(q, e, o.failure)
		return q.stage == running
	}
	c.done(q, e)
	c.outcomes.ack(q.channel, e)
	if q.started+q.counting <= countAhead/2 {
		c.want(q)
	}
	c.wake()
	return true
}
