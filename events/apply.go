package events

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redstart-go/redstart/internal/core"
)

// apply takes in what a turn answered.
func (x *session) apply(t *turn, msg core.Reply) error {
	r, err := decodeTurn(msg)
	if err != nil {
		return err
	}
	if missed := r.missed + int64(len(r.gone)); missed > 0 && !t.release {
		x.run.gap(Gap{Reason: GapTrimmed, Missed: missed, Partition: x.index})
	}
	s := &x.run.sub.stats
	s.parked.Add(r.parked)
	s.received.Add(r.read)

	x.run.mu.Lock()
	defer x.run.mu.Unlock()
	defer x.checked()
	x.waiting, x.stamp = r.waiting, r.stamp
	x.run.sum()
	x.due = time.Time{}
	if r.due > 0 && r.due < taken {
		x.due, x.dueMS = time.Now().Add(time.Duration(r.due-float64(r.now))*time.Millisecond), r.due
	}
	if t.count > 0 && r.fault == "" && x.phase.serves() {
		x.hasRead(r.read, r.tip)
	}
	x.acked += len(t.operations)
	for _, id := range r.seen {
		for _, h := range t.asks[id] {
			h.skip = true
		}
	}
	gone := make(map[string]bool, len(r.gone))
	for _, id := range r.gone {
		gone[id] = true
	}
	for _, b := range t.begins {
		x.counted(b, gone)
	}
	if len(r.more) != len(t.mores) {
		return unexpected("more of channels", fmt.Errorf("%d lists instead of %d", len(r.more), len(t.mores)))
	}
	x.fetched(t.fetching, r.bodies)
	x.fresh(&r)
	for _, c := range r.dueChannels {
		x.unpark(c, 0, r.stubs, nil, notInterrupted)
	}
	for i, c := range r.more {
		l := x.unpark(c, t.mores[i].skip, r.stubs, nil, notInterrupted)
		if l != nil && c.length == 0 {
			x.emptied(l)
		}
	}
	if r.fault != "" {
		x.faulty(r.fault)
	}
	return nil
}

// hasRead takes in that a turn has read n events, and the last id if these were all.
func (x *session) hasRead(n int64, tip string) {
	switch {
	case tip == "":
		x.to(reading)
	case x.phase == checking && n == 0 && tip == x.tip:
		x.to(armed)
	default:
		x.to(caughtUp)
	}
	if tip != "" {
		x.tip = tip
	}
}

// counted lets events begin whose attempts are counted now. Those that were cut from the stream in the meantime are forgotten.
func (x *session) counted(b begin, gone map[string]bool) {
	l := b.l
	if x.lanes[l.channel] != l {
		return
	}
	l.asked = 0
	l.request(nothing)
	for _, h := range b.all {
		if gone[h.id] {
			l.queue.remove(l.begun)
			x.unhold(h)
			continue
		}
		h.attempts++
		l.begun++
		if h.attempts > 1 {
			x.run.sub.stats.retries.Add(1)
		}
	}
	x.start(l)
	if l.stage == runnable || l.stage == running {
		if l.begun <= window/2 {
			x.want(l)
		}
		return
	}
	x.settle(l)
}

// fetched takes in the bodies of stubs. One whose body is not there begins all the same, and is then found to be cut.
func (x *session) fetched(lanes []*lane, bodies map[string]string) {
	for _, l := range lanes {
		if x.lanes[l.channel] != l {
			continue
		}
		l.request(nothing)
		h := l.queue.at(0)
		h.stub, h.body = false, bodies[h.id]
		x.bytes += len(h.body)
		x.settle(l)
	}
}

// fresh takes in entries that were read, of which some have begun at once.
func (x *session) fresh(r *turnReply) {
	begun := r.begun
	x.measureSize(r.fresh, r.stubs)
	for i := range r.fresh {
		l := x.lane(r.fresh[i].channel)
		h := x.holdEntry(l, &r.fresh[i], r.stubs)
		if len(begun) > 0 && begun[0] == h.id {
			begun = begun[1:]
			l.begun, h.attempts = 1, 1
			x.start(l)
		}
	}
	for i := range r.fresh {
		if l := x.lanes[r.fresh[i].channel]; l != nil {
			x.run.offer(l)
		}
	}
	x.run.grant()
}

// measureSize keeps how large events were lately; it falls slowly.
func (x *session) measureSize(all []storedEvent, stubs map[string]int) {
	largest := 0
	for i := range all {
		largest = max(largest, len(all[i].body), stubs[all[i].id])
	}
	if len(all) > 0 {
		x.size = max(x.size*3/4, largest)
	}
}

// holdEntry puts an event behind those of its lane.
func (x *session) holdEntry(l *lane, e *storedEvent, stubs map[string]int) *held {
	h := &held{id: e.id, field: e.field, body: e.body}
	if h.size = stubs[e.id]; h.size > 0 {
		h.stub = true
	}
	x.hold(l, h)
	return h
}

// unpark takes in parked events of a channel, which are behind the first skip of its list. With known it leaves out those that are
// held or done already.
func (x *session) unpark(c parkedChannel, skip int, stubs map[string]int, known map[string]bool, interrupted func(int) *failure) *lane {
	l := x.lanes[c.channel]
	if l == nil {
		if c.length == 0 {
			return nil
		}
		l = x.lane(c.channel)
	}
	x.remote[l] = true
	limit := x.run.sub.mostAttempts
	for i := range c.items {
		e := &c.items[i]
		if known[e.id] {
			continue
		}
		h := x.holdEntry(l, e, stubs)
		h.attempts, h.parked, h.interrupted = e.attempts, true, interrupted(e.attempts)
		if h.interrupted == nil && limit != NoMaxAttempts && e.attempts >= limit {
			h.interrupted = &failure{err: errInterrupted, cause: errInterrupted.Error(), limit: limit}
		}
	}
	if len(c.items) < min(c.length-skip, window) { // the reply had no room for more
		l.hungry = true
	}
	x.run.offer(l)
	return l
}

// emptied notes that the server has no parked events of a channel: what is read of it from here on comes directly.
func (x *session) emptied(l *lane) {
	delete(x.remote, l)
	x.settle(l)
}

func notInterrupted(int) *failure { return nil }

// errInterrupted is why an attempt failed that no process saw fail.
var errInterrupted = errors.New("events: the consumer died or lost its lease during this attempt")

// interruptions asks what becomes of events that another owner had begun, for each number of attempts, before the lock is taken.
func (s *Subscriber) interruptions(r *leftReply) func(attempts int) *failure {
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

// interruption asks on a goroutine of its own: a Backoff that calls runtime.Goexit must not end the partition's loop.
func (s *Subscriber) interruption(attempts int) *failure {
	f := s.exited(nil, attempts).failure
	f.err, f.cause = errInterrupted, errInterrupted.Error()
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		f = s.judge(nil, attempts, errInterrupted)
	}()
	<-asked
	f.limit = s.mostAttempts // which handlers it has is seen when it is tried
	return &f
}

// adopt takes in one page of what recover found, and returns the last id that was looked at.
func (x *session) adopt(msg core.Reply, takeover bool) (last string, err error) {
	r, err := decodeLeft(msg)
	if err != nil {
		return "", err
	}
	interrupted := notInterrupted
	if takeover {
		interrupted = x.run.sub.interruptions(&r)
	}
	if len(r.gone) > 0 {
		x.run.gap(Gap{Reason: GapTrimmed, Missed: int64(len(r.gone)), Partition: x.index})
	}

	x.run.mu.Lock()
	defer x.run.mu.Unlock()
	known := x.outcomes.pending()
	for _, l := range x.lanes {
		for i := range l.queue.len() {
			known[l.queue.at(i).id] = true
		}
	}
	x.measureSize(r.entries, r.stubs)
	for i := range r.entries {
		e := &r.entries[i]
		if known[e.id] {
			continue
		}
		h := x.holdEntry(x.lane(e.channel), e, r.stubs)
		if takeover { // else this process knows that no handler has started
			h.attempts, h.interrupted = e.attempts, interrupted(e.attempts)
		}
	}
	for i := range r.entries {
		if l := x.lanes[r.entries[i].channel]; l != nil {
			x.run.offer(l)
		}
	}
	for _, c := range r.channels {
		x.unpark(c, 0, r.stubs, known, interrupted)
	}
	if r.fault != "" {
		x.faulty(r.fault)
	}
	return r.last, nil
}

// faulty meets an error of the stream: the group or all of it is gone. The partition is taken again, which makes the group again.
func (x *session) faulty(text string) {
	x.fault = text
	if x.phase != over {
		x.to(resetting)
	}
	x.kick()
}

// reportFault logs why the partition is taken again.
func (x *session) reportFault(text string) {
	if strings.Contains(text, "NOGROUP") || strings.Contains(text, "no such key") {
		x.d.core.Logger().Warn("events: a stream or its group is gone; it is made again, from the beginning", "bus", x.d.bus, "group", x.run.sub.name, "partition", x.index)
		return
	}
	x.d.core.Logger().Error("events: a stream can't be read", "bus", x.d.bus, "group", x.run.sub.name, "partition", x.index, "error", text)
}

// after is the next id.
func after(id string) (string, error) {
	ms, seq, _ := strings.Cut(id, "-")
	n, err := strconv.ParseUint(seq, 10, 64)
	if err != nil {
		return "", unexpected("an id", err)
	}
	return ms + "-" + strconv.FormatUint(n+1, 10), nil
}
