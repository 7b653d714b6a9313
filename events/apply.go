package events

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redstart-go/redstart/internal/core"
)

// apply updates the consumer with the reply of a poll.
func (c *partitionConsumer) apply(p *poll, msg core.Reply) error {
	r, err := decodePoll(msg)
	if err != nil {
		return err
	}
	if missed := r.missed + int64(len(r.gone)); missed > 0 && !p.release {
		c.run.gap(Gap{Reason: GapTrimmed, Missed: missed, Partition: c.index})
	}
	s := &c.run.sub.stats
	s.parked.Add(r.parked)
	s.received.Add(r.read)

	c.run.mu.Lock()
	defer c.run.mu.Unlock()
	defer c.checked()
	c.waiting, c.stamp = r.waiting, r.stamp
	c.run.sum()
	c.due = time.Time{}
	if r.due > 0 && r.due < taken {
		c.due, c.dueMS = c.d.core.Time().Now().Add(time.Duration(r.due-float64(r.now))*time.Millisecond), r.due
	}
	if p.count > 0 && r.fault == "" && c.phase.serves() {
		c.hasRead(r.read, r.tip)
	}
	c.acked += len(p.operations)
	for _, id := range r.seen {
		for _, e := range p.inboxIDs[id] {
			e.skip = true
		}
	}
	gone := make(map[string]bool, len(r.gone))
	for _, id := range r.gone {
		gone[id] = true
	}
	for _, b := range p.starts {
		c.counted(b, gone)
	}
	if len(r.more) != len(p.mores) {
		return unexpected("parked events of channels", fmt.Errorf("%d lists, want %d", len(r.more), len(p.mores)))
	}
	c.bodiesFetched(p.fetching, r.bodies)
	c.entriesRead(&r)
	for _, due := range r.dueChannels {
		c.unpark(due, 0, r.stubs, nil, notInterrupted)
	}
	for i, more := range r.more {
		q := c.unpark(more, p.mores[i].skip, r.stubs, nil, notInterrupted)
		if q != nil && more.length == 0 {
			c.emptied(q)
		}
	}
	if r.fault != "" {
		c.streamFailed(r.fault)
	}
	return nil
}

// hasRead notes that a poll has read n events. tip is the stream's last id if everything was read,
// else "".
func (c *partitionConsumer) hasRead(n int64, tip string) {
	switch {
	case tip == "":
		c.to(reading)
	case c.phase == checking && n == 0 && tip == c.tip:
		c.to(armed)
	default:
		c.to(caughtUp)
	}
	if tip != "" {
		c.tip = tip
	}
}

// attemptsCounted starts the queue of events whose attempts are counted now. Events that were cut
// from the stream in the meantime are removed.
func (c *partitionConsumer) counted(b startBatch, gone map[string]bool) {
	q := b.queue
	if c.queues[q.channel] != q {
		return
	}
	q.counting = 0
	q.setRequest(nothing)
	for _, e := range b.events {
		if gone[e.id] {
			q.events.remove(q.started)
			c.unhold(e)
			continue
		}
		e.attempts++
		q.started++
		if e.attempts > 1 {
			c.run.sub.stats.retries.Add(1)
		}
	}
	c.makeRunnable(q)
	if q.stage == runnable || q.stage == running {
		if q.started <= countAhead/2 {
			c.want(q)
		}
		return
	}
	c.reschedule(q)
}

// bodiesFetched stores the bodies of stubs. An event without a stored body starts too: the count of
// its attempt then finds that it was cut.
func (c *partitionConsumer) bodiesFetched(queues []*channelQueue, bodies map[string]string) {
	for _, q := range queues {
		if c.queues[q.channel] != q {
			continue
		}
		q.setRequest(nothing)
		e := q.events.at(0)
		e.stub, e.body = false, bodies[e.id]
		c.bytes += len(e.body)
		c.reschedule(q)
	}
}

// entriesRead adds entries that a poll has read. The script has started some of them.
func (c *partitionConsumer) entriesRead(r *pollReply) {
	begun := r.started
	c.measureSize(r.fresh, r.stubs)
	for i := range r.fresh {
		q := c.queueOf(r.fresh[i].channel)
		e := c.holdEntry(q, &r.fresh[i], r.stubs)
		if len(begun) > 0 && begun[0] == e.id {
			begun = begun[1:]
			q.started, e.attempts = 1, 1
			c.makeRunnable(q)
		}
	}
	for i := range r.fresh {
		if q := c.queues[r.fresh[i].channel]; q != nil {
			c.run.offer(q)
		}
	}
	c.run.grant()
}

// measureSize keeps the recent size of events. The value falls slowly.
func (c *partitionConsumer) measureSize(all []storedEvent, stubs map[string]int) {
	largest := 0
	for i := range all {
		largest = max(largest, len(all[i].body), stubs[all[i].id])
	}
	if len(all) > 0 {
		c.size = max(c.size*3/4, largest)
	}
}

// holdEntry appends an event to a queue.
func (c *partitionConsumer) holdEntry(q *channelQueue, stored *storedEvent, stubs map[string]int) *queuedEvent {
	e := &queuedEvent{id: stored.id, field: stored.field, body: stored.body}
	if e.size = stubs[stored.id]; e.size > 0 {
		e.stub = true
	}
	c.hold(q, e)
	return e
}

// unpark adds parked events of a channel, which follow the first skip events of its list. It leaves
// out the known ones: events that are held or done.
func (c *partitionConsumer) unpark(parked parkedChannel, skip int, stubs map[string]int, known map[string]bool,
	interrupted func(int) *failure) *channelQueue {
	q := c.queues[parked.channel]
	if q == nil {
		if parked.length == 0 {
			return nil
		}
		q = c.queueOf(parked.channel)
	}
	c.handedOut[q] = true
	limit := c.run.sub.mostAttempts
	for i := range parked.items {
		item := &parked.items[i]
		if known[item.id] {
			continue
		}
		e := c.holdEntry(q, item, stubs)
		e.attempts, e.parked, e.interrupted = item.attempts, true, interrupted(item.attempts)
		if e.interrupted == nil && limit != NoMaxAttempts && item.attempts >= limit {
			e.interrupted = &failure{err: errInterrupted, cause: errInterrupted.Error(), limit: limit}
		}
	}
	if len(parked.items) < min(parked.length-skip, countAhead) { // the reply had no room for the rest
		q.needsMore = true
	}
	c.run.offer(q)
	return q
}

// emptied notes that a channel has no parked events: its next events come from the stream.
func (c *partitionConsumer) emptied(q *channelQueue) {
	delete(c.handedOut, q)
	c.reschedule(q)
}

func notInterrupted(int) *failure { return nil }

// errInterrupted is the cause of an attempt whose end no process saw.
var errInterrupted = errors.New("events: the consumer died or lost its lease during this attempt")

// interruptions returns what happens to events that another owner had started, by number of
// attempts. It calls user code, so the caller must not hold the lock.
func (s *Subscriber) interruptions(r *recoverReply) func(attempts int) *failure {
	by := map[int]*failure{0: nil}
	add := func(all []storedEvent) {
		for i := range all {
			n := all[i].attempts
			if _, known := by[n]; !known && n > 0 {
				by[n] = s.interruption(n)
			}
		}
	}
	add(r.entries)
	for _, c := range r.channels {
		add(c.items)
	}
	return func(attempts int) *failure { return by[attempts] }
}

// interruption runs on another goroutine: a Backoff that calls runtime.Goexit must not end the
// consumer's loop.
func (s *Subscriber) interruption(attempts int) *failure {
	f := s.exited(nil, attempts).failure
	f.err, f.cause = errInterrupted, errInterrupted.Error()
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		f = s.judge(nil, attempts, errInterrupted)
	}()
	<-asked
	f.limit = s.mostAttempts // its own handlers' limits are applied when it is tried
	return &f
}

// takeOver adds one page of the reply of recover.lua, and returns the last id that was looked at.
func (c *partitionConsumer) takeOver(msg core.Reply, takeover bool) (last string, err error) {
	r, err := decodeRecover(msg)
	if err != nil {
		return "", err
	}
	interrupted := notInterrupted
	if takeover {
		interrupted = c.run.sub.interruptions(&r)
	}
	if len(r.gone) > 0 {
		c.run.gap(Gap{Reason: GapTrimmed, Missed: int64(len(r.gone)), Partition: c.index})
	}

	c.run.mu.Lock()
	defer c.run.mu.Unlock()
	known := c.outcomes.pending()
	for _, q := range c.queues {
		for i := range q.events.len() {
			known[q.events.at(i).id] = true
		}
	}
	c.measureSize(r.entries, r.stubs)
	for i := range r.entries {
		entry := &r.entries[i]
		if known[entry.id] {
			continue
		}
		e := c.holdEntry(c.queueOf(entry.channel), entry, r.stubs)
		if takeover { // else no handler of this process has started
			e.attempts, e.interrupted = entry.attempts, interrupted(entry.attempts)
		}
	}
	for i := range r.entries {
		if q := c.queues[r.entries[i].channel]; q != nil {
			c.run.offer(q)
		}
	}
	for _, parked := range r.channels {
		c.unpark(parked, 0, r.stubs, known, interrupted)
	}
	if r.fault != "" {
		c.streamFailed(r.fault)
	}
	return r.last, nil
}

// streamFailed handles an error of the stream: the group, the whole stream or writes are gone. The
// partition is given back when its handlers have ended, and taken again, which creates the group
// again.
func (c *partitionConsumer) streamFailed(text string) {
	c.fault = text
	if c.phase != over {
		c.to(resetting)
	}
	c.wake()
}

// behind is the reply of poll.lua if the server has lost a poll that it had answered.
const behind = "BEHIND"

// giveUp handles the loss of writes on the server, as in a failover. The queues may lack events
// whose parking was lost, so the next owner reads all of them again from the server's state. What
// this owner would park or count there may contradict that state.
func (c *partitionConsumer) giveUp() {
	c.answered = 0
	c.run.mu.Lock()
	defer c.run.mu.Unlock()
	for _, q := range c.toPark {
		c.drop(q)
	}
	c.toPark = nil
	c.streamFailed(behind)
}

// reportFault logs why the partition is taken again.
func (c *partitionConsumer) reportFault(text string) {
	if text == behind {
		c.d.core.Logger().Warn("events: the server has lost writes; the partition is taken again, and events may be handled twice",
			"bus", c.d.bus, "group", c.run.sub.name, "partition", c.index)
		return
	}
	if strings.Contains(text, "NOGROUP") || strings.Contains(text, "no such key") {
		c.d.core.Logger().Warn("events: a stream or its group is gone and is created again, from the beginning",
			"bus", c.d.bus, "group", c.run.sub.name, "partition", c.index)
		return
	}
	c.d.core.Logger().Error("events: a stream cannot be read", "bus", c.d.bus, "group", c.run.sub.name, "partition", c.index, "error", text)
}

// after returns the next possible id.
func after(id string) (string, error) {
	ms, seq, _ := strings.Cut(id, "-")
	n, err := strconv.ParseUint(seq, 10, 64)
	if err != nil {
		return "", unexpected("an id", err)
	}
	return ms + "-" + strconv.FormatUint(n+1, 10), nil
}
