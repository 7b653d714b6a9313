package events

import (
	"fmt"
	"time"
)

// channelQueue is the events of one channel that this process holds, in order. At most one handler
// runs for it. The run's lock guards it and the events in it.
type channelQueue struct {
	consumer    *partitionConsumer
	channel     string
	events      fifo[*queuedEvent]
	started     int // events at the head whose attempt is counted on the server, the running one included
	counting    int // events behind them whose attempts a poll counts now
	stage       stage
	request     request
	needsMore   bool // the next poll asks for parked events, once few are held
	delay       time.Duration
	startedAt   time.Time     // start of the running handler, else zero
	handlerTime time.Duration // recent run time of a handler
}

// backlog estimates how long the handlers need for the held events.
func (q *channelQueue) backlog(now time.Time) time.Duration {
	each := q.handlerTime
	if !q.startedAt.IsZero() {
		each = max(each, now.Sub(q.startedAt))
	}
	return each * time.Duration(q.events.len())
}

// finished notes the run time of a handler.
func (q *channelQueue) finished(d time.Duration) {
	q.startedAt = time.Time{}
	q.handlerTime = (3*q.handlerTime + d) / 4
}

// queuedEvent is one event in this process.
type queuedEvent struct {
	id, field, body string
	attempts        int      // as counted on the server
	parked          bool     // stored in the channel's parked list, else pending in the stream
	interrupted     *failure // another owner started its last attempt and did not finish it
	skip            bool     // its id is marked in the inbox
	stub            bool     // its body is on the server only
	size            int      // bytes of its body
}

// countAhead is how many attempts of one channel may be counted before their handlers start.
// Without it, a channel would handle one event per round trip. Limit: a crash counts an attempt for
// events whose handlers did not start. That happens to an event at most once, because an event with
// attempts is never counted ahead.
const countAhead = 32

func (c *partitionConsumer) queueOf(channel string) *channelQueue {
	q := c.queues[channel]
	if q == nil {
		q = &channelQueue{consumer: c, channel: channel}
		c.queues[channel] = q
	}
	return q
}

func (c *partitionConsumer) hold(q *channelQueue, e *queuedEvent) {
	q.events.push(e)
	e.size = max(e.size, len(e.body))
	c.held++
	c.bytes += len(e.body)
	c.weight += e.size
	c.run.sub.stats.held.Add(1)
}

func (c *partitionConsumer) unhold(e *queuedEvent) {
	c.held--
	c.bytes -= len(e.body)
	c.weight -= e.size
	c.run.sub.stats.held.Add(-1)
}

// offer puts a queue with events in line for a slot. If the queue has a slot, its next attempts are
// counted.
func (r *durableRun) offer(q *channelQueue) {
	switch {
	case !q.consumer.phase.serves() || q.events.len() == 0:
	case q.stage.holdsSlot():
		q.consumer.want(q)
	case q.stage == idle:
		q.to(queued)
		r.ready.push(q)
		r.grant()
	}
}

// slotsPerWorker is how many queues per worker may have counted attempts, so that a free worker
// finds the next one. Where a counted attempt that did not happen would matter, at most one queue
// per worker has a slot.
const slotsPerWorker = 4

// grant gives free slots to queues in line.
func (r *durableRun) grant() {
	for r.free > 0 && r.ready.len() > 0 {
		q := r.ready.at(0)
		if q.stage == queued && q.consumer.phase.serves() && q.events.len() > 0 {
			strict := q.events.at(0).attempts > 0 || q.events.at(0).stub || r.sub.leastAttempts == 1 || r.sub.opt.Inbox > 0
			if strict && r.free <= (slotsPerWorker-1)*r.sub.opt.Concurrency {
				return
			}
			r.ready.pop()
			q.to(slotted)
			q.consumer.want(q)
			continue
		}
		r.ready.pop()
		if q.stage == queued {
			q.to(idle)
		}
	}
}

// want makes the next poll count the queue's next attempts.
func (c *partitionConsumer) want(q *channelQueue) {
	if q.request == nothing && q.started < q.events.len() {
		q.setRequest(wanted)
		c.toStart = append(c.toStart, q)
		c.wake()
	}
}

// next returns the events whose attempts the next poll counts, all of them for the attempt-th time.
// It concludes heads that must not start.
func (c *partitionConsumer) next(q *channelQueue) (attempt int, all []*queuedEvent) {
	for {
		i := q.started + q.counting + len(all)
		if q.stage == stopped || i >= q.events.len() {
			return attempt, all
		}
		e := q.events.at(i)
		most := countAhead
		if e.attempts > 0 || c.run.sub.leastAttempts == 1 || c.run.sub.opt.Inbox > 0 {
			most = 1
		}
		if i >= most || i > 0 && (e.stub || q.events.at(0).stub) || len(all) > 0 && e.attempts+1 != attempt {
			return attempt, all
		}
		if i == 0 {
			switch {
			case e.interrupted != nil:
				c.fail(q, e, *e.interrupted)
				continue
			case e.field != envelopeField && e.field != "?":
				c.unknown = append(c.unknown, unknownEntry{q.channel, e.id, e.field})
				c.halt(q, unknownDelay)
				return attempt, all
			}
		} else if e.interrupted != nil || e.field != envelopeField && e.field != "?" {
			return attempt, all
		}
		attempt = e.attempts + 1
		all = append(all, e)
	}
}

// drop removes a queue. Its events are on the server, or another process owns them.
func (c *partitionConsumer) drop(q *channelQueue) {
	for q.events.len() > 0 {
		c.unhold(q.events.pop())
	}
	q.started, q.counting = 0, 0
	q.to(removed)
	delete(c.handedOut, q)
	if c.queues[q.channel] == q {
		delete(c.queues, q.channel)
	}
}

// done removes the head of a queue.
func (c *partitionConsumer) done(q *channelQueue, e *queuedEvent) {
	q.events.pop()
	q.started--
	q.needsMore = true
	c.unhold(e)
}

// fail concludes a failed attempt of a head: a dead letter, or a stopped queue that the next polls
// park.
func (c *partitionConsumer) fail(q *channelQueue, e *queuedEvent, f failure) {
	if f.uncounted {
		e.attempts--
	}
	if f.discard || f.limit != NoMaxAttempts && e.attempts >= f.limit {
		if q.started == 0 { // an interrupted attempt: it was not started here
			q.started = 1
		}
		c.done(q, e)
		c.outcomes.dead(q.channel, e, f.cause)
		c.run.sub.stats.deadLettered.Add(1)
		c.wake()
		return
	}
	c.halt(q, f.delay)
}

// halt makes the next polls park all events of a queue. The channel is due again after the delay.
func (c *partitionConsumer) halt(q *channelQueue, delay time.Duration) {
	q.delay = delay
	q.to(stopped)
	c.toPark = append(c.toPark, q)
	c.wake()
}

// unknownEntry is an entry with a format that this release does not know.
type unknownEntry struct{ channel, position, field string }

// report logs what was noted under the lock: the fault of a stream, entries that block their
// channels until a release that knows their format owns the partition, and a handler that runs for
// long.
func (c *partitionConsumer) report() {
	c.run.mu.Lock()
	all, fault := c.unknown, c.fault
	c.unknown, c.fault = nil, ""
	channel, since := c.longest()
	c.run.mu.Unlock()
	if fault != "" {
		c.reportFault(fault)
	}
	for _, u := range all {
		c.d.core.Warn("events: an entry has an unknown format and blocks its channel", c.d.bus+"/"+c.run.sub.name,
			"bus", c.d.bus, "group", c.run.sub.name, "partition", c.index, "channel", u.channel, "position", u.position, "field", u.field)
	}
	if channel != "" {
		c.d.core.Warn("events: a handler runs for long; no event behind its own is trimmed from the stream; set HandlerTimeout to bound it",
			fmt.Sprint(c.d.bus, "/", c.run.sub.name, "/", c.index),
			"bus", c.d.bus, "group", c.run.sub.name, "partition", c.index, "channel", channel, "running",
			time.Since(since).Round(time.Second))
	}
}

// longest returns the channel whose handler runs for the longest time, if that is long and nothing
// bounds it. Trimming spares pending events, so its event keeps all later ones in the stream.
func (c *partitionConsumer) longest() (channel string, since time.Time) {
	if c.run.sub.opt.HandlerTimeout > 0 || c.d.opt.Retention > 0 || c.d.opt.MaxLen > 0 {
		return "", time.Time{}
	}
	since = time.Now().Add(-c.d.points.Duration("long", longHandler))
	for _, q := range c.queues {
		if !q.startedAt.IsZero() && q.startedAt.Before(since) {
			channel, since = q.channel, q.startedAt
		}
	}
	return channel, since
}
