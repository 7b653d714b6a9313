package events

import (
	"fmt"
	"time"
)

// lane is the events of one channel that this process holds, in order. One handler at a time is on it. It and everything
// it points to is under the run's lock.
type lane struct {
	x       *session
	channel string
	queue   fifo[*held]
	begun   int // so many at the head have their attempt counted in Redis, the running one included
	asked   int // so many behind them are being counted
	stage   stage
	asks    request
	hungry  bool // more of its parked list is to be asked for, once little is held
	delay   time.Duration
	since   time.Time     // when the handler that runs now started
	pace    time.Duration // that handlers took lately
}

// backlog is how long the handlers need for what is held of the channel, as far as that is known.
func (l *lane) backlog(now time.Time) time.Duration {
	each := l.pace
	if !l.since.IsZero() {
		each = max(each, now.Sub(l.since))
	}
	return each * time.Duration(l.queue.len())
}

// took notes how long a handler ran.
func (l *lane) took(d time.Duration) {
	l.since = time.Time{}
	l.pace = (3*l.pace + d) / 4
}

// held is one event in this process.
type held struct {
	id, field, body string
	attempts        int      // as counted in Redis
	parked          bool     // it is in the channel's parked list, else in the stream's pending list
	interrupted     *failure // its last attempt was another owner's, who did not finish it
	skip            bool     // its id was in the inbox
	stub            bool     // its body is still on the server
	size            int      // bytes of its body
}

// window is how many events of one channel may be counted ahead of their handlers, so that a channel is not held to
// one event per round trip. A crash then counts an attempt for events whose handlers did not start: once at most, because an
// event that has been counted is never counted ahead again.
const window = 32

func (x *session) lane(channel string) *lane {
	l := x.lanes[channel]
	if l == nil {
		l = &lane{x: x, channel: channel}
		x.lanes[channel] = l
	}
	return l
}

func (x *session) hold(l *lane, h *held) {
	l.queue.push(h)
	h.size = max(h.size, len(h.body))
	x.held++
	x.bytes += len(h.body)
	x.weight += h.size
	x.run.sub.stats.held.Add(1)
}

func (x *session) unhold(h *held) {
	x.held--
	x.bytes -= len(h.body)
	x.weight -= h.size
	x.run.sub.stats.held.Add(-1)
}

// offer puts a lane that has work in the line for a slot, or has its next events counted.
func (r *durableRun) offer(l *lane) {
	switch {
	case !l.x.phase.serves() || l.queue.len() == 0:
	case l.stage.holdsSlot():
		l.x.want(l)
	case l.stage == idle:
		l.to(queued)
		r.ready.push(l)
		r.grant()
	}
}

// ahead is how many lanes per worker have events counted, so that a worker that is done finds the next. Where an attempt that
// was counted and did not happen would matter, there are no more lanes than workers.
const ahead = 4

// grant gives free slots to lanes in line.
func (r *durableRun) grant() {
	for r.free > 0 && r.ready.len() > 0 {
		l := r.ready.at(0)
		if l.stage == queued && l.x.phase.serves() && l.queue.len() > 0 {
			strict := l.queue.at(0).attempts > 0 || l.queue.at(0).stub || r.sub.leastAttempts == 1 || r.sub.opt.Inbox > 0
			if strict && r.free <= (ahead-1)*r.sub.opt.Concurrency {
				return
			}
			r.ready.pop()
			l.to(slotted)
			l.x.want(l)
			continue
		}
		r.ready.pop()
		if l.stage == queued {
			l.to(idle)
		}
	}
}

// want has the lane's next events counted in the next turn.
func (x *session) want(l *lane) {
	if l.asks == nothing && l.begun < l.queue.len() {
		l.request(wanted)
		x.toBegin = append(x.toBegin, l)
		x.kick()
	}
}

// next takes events of a lane to count, and says how they are counted: all of them for the attempt-th time. It settles heads
// that must not run.
func (x *session) next(l *lane) (attempt int, all []*held) {
	for {
		i := l.begun + l.asked + len(all)
		if l.stage == stopped || i >= l.queue.len() {
			return attempt, all
		}
		h := l.queue.at(i)
		most := window
		if h.attempts > 0 || x.run.sub.leastAttempts == 1 || x.run.sub.opt.Inbox > 0 {
			most = 1
		}
		if i >= most || i > 0 && (h.stub || l.queue.at(0).stub) || len(all) > 0 && h.attempts+1 != attempt {
			return attempt, all
		}
		if i == 0 {
			switch {
			case h.interrupted != nil:
				x.fail(l, h, *h.interrupted)
				continue
			case h.field != envelopeField && h.field != "?":
				x.unknown = append(x.unknown, unknownEntry{l.channel, h.id, h.field})
				x.halt(l, unknownDelay)
				return attempt, all
			}
		} else if h.interrupted != nil || h.field != envelopeField && h.field != "?" {
			return attempt, all
		}
		attempt = h.attempts + 1
		all = append(all, h)
	}
}

// drop empties a lane whose events are elsewhere now.
func (x *session) drop(l *lane) {
	for l.queue.len() > 0 {
		x.unhold(l.queue.pop())
	}
	l.begun, l.asked = 0, 0
	l.to(removed)
	delete(x.remote, l)
	if x.lanes[l.channel] == l {
		delete(x.lanes, l.channel)
	}
}

// done takes the head off a lane.
func (x *session) done(l *lane, h *held) {
	l.queue.pop()
	l.begun--
	l.hungry = true
	x.unhold(h)
}

// fail says what becomes of a head whose attempt has failed: it becomes a dead letter, or the lane stops to be parked.
func (x *session) fail(l *lane, h *held, f failure) {
	if f.uncounted {
		h.attempts--
	}
	if f.discard || f.limit != NoMaxAttempts && h.attempts >= f.limit {
		if l.begun == 0 { // it was interrupted, and has not begun here
			l.begun = 1
		}
		x.done(l, h)
		x.outcomes.dead(l.channel, h, f.cause)
		x.run.sub.stats.deadLettered.Add(1)
		x.kick()
		return
	}
	x.halt(l, f.delay)
}

// halt has the next turns park all of a lane, which is due after the delay.
func (x *session) halt(l *lane, delay time.Duration) {
	l.delay = delay
	l.to(stopped)
	x.toPark = append(x.toPark, l)
	x.kick()
}

// unknownEntry is an entry whose format this release does not know.
type unknownEntry struct{ channel, position, field string }

// report logs, without the lock, the entries that block their channels until a release that knows their format owns the
// partition, the fault of a stream, and a handler that runs for long.
func (x *session) report() {
	x.run.mu.Lock()
	all, fault := x.unknown, x.fault
	x.unknown, x.fault = nil, ""
	channel, since := x.longest()
	x.run.mu.Unlock()
	if fault != "" {
		x.reportFault(fault)
	}
	for _, u := range all {
		x.d.core.Warn("events: an entry has an unknown format and blocks its channel", x.d.bus+"/"+x.run.sub.name,
			"bus", x.d.bus, "group", x.run.sub.name, "partition", x.index, "channel", u.channel, "position", u.position, "field", u.field)
	}
	if channel != "" {
		x.d.core.Warn("events: a handler runs for long; no event behind its own is trimmed from the stream; set HandlerTimeout to bound it",
			fmt.Sprint(x.d.bus, "/", x.run.sub.name, "/", x.index),
			"bus", x.d.bus, "group", x.run.sub.name, "partition", x.index, "channel", channel, "running", time.Since(since).Round(time.Second))
	}
}

// longest is the channel whose handler has run for the longest time, if that is long and nothing bounds it. Its event keeps all that
// come later in the stream, because trimming spares what is pending.
func (x *session) longest() (channel string, since time.Time) {
	if x.run.sub.opt.HandlerTimeout > 0 || x.d.opt.Retention > 0 || x.d.opt.MaxLen > 0 {
		return "", time.Time{}
	}
	since = time.Now().Add(-x.d.points.Duration("long", longHandler))
	for _, l := range x.lanes {
		if !l.since.IsZero() && l.since.Before(since) {
			channel, since = l.channel, l.since
		}
	}
	return channel, since
}
