package events

import "sync"

// liveQueue holds live events between the connection's reader, which must never wait, and the workers. Events
// of one channel form a lane, and one worker at most is on a lane.
type liveQueue struct {
	mu           sync.Mutex
	work         sync.Cond
	lanes        map[string]*liveLane
	ready        fifo[*liveLane]
	oldest, last *liveEvent // all that wait, in order of arrival
	events       int
	bytes        int
	limit        int
	limitBytes   int
	policy       Overflow
	closed       bool
}

type liveLane struct {
	channel      string
	first, last  *liveEvent
	busy, queued bool // a worker is on it; it is in ready
}

type liveEvent struct {
	text         string
	channel      string
	w            which
	lane         *liveLane
	older, newer *liveEvent // in the queue
	next         *liveEvent // in the lane
}

func newLiveQueue(limit, limitBytes int, policy Overflow) *liveQueue {
	q := &liveQueue{lanes: make(map[string]*liveLane), limit: limit, limitBytes: limitBytes, policy: policy}
	q.work.L = &q.mu
	return q
}

// push adds an event and reports how many were dropped for want of room. It never waits. ok is false
// when there was no room and the policy is to disconnect.
func (q *liveQueue) push(channel, text string, w which) (dropped int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return 0, true
	}
	for q.events >= q.limit || q.events > 0 && q.bytes+len(text) > q.limitBytes {
		switch q.policy {
		case DropNewest:
			return dropped + 1, true
		case Disconnect:
			return dropped + 1, false
		}
		dropped++
		q.take(q.oldest.lane)
	}
	lane := q.lanes[channel]
	if lane == nil {
		lane = &liveLane{channel: channel}
		q.lanes[channel] = lane
	}
	e := &liveEvent{text: text, channel: channel, w: w, lane: lane, older: q.last}
	if q.last != nil {
		q.last.newer = e
	} else {
		q.oldest = e
	}
	q.last = e
	if lane.last != nil {
		lane.last.next = e
	} else {
		lane.first = e
	}
	lane.last = e
	q.events++
	q.bytes += len(text)
	if !lane.busy && !lane.queued {
		lane.queued = true
		q.ready.push(lane)
		q.work.Signal()
	}
	return dropped, true
}

// take removes the first event of a lane. The oldest event of all is the first of its lane.
func (q *liveQueue) take(lane *liveLane) *liveEvent {
	e := lane.first
	if lane.first = e.next; lane.first == nil {
		lane.last = nil
	}
	if e.older != nil {
		e.older.newer = e.newer
	} else {
		q.oldest = e.newer
	}
	if e.newer != nil {
		e.newer.older = e.older
	} else {
		q.last = e.older
	}
	q.events--
	q.bytes -= len(e.text)
	e.older, e.newer, e.next = nil, nil, nil
	return e
}

// next waits for an event of a lane that nobody is on. done is what the worker had before, or nil.
func (q *liveQueue) next(done *liveEvent) (e *liveEvent, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if done != nil {
		lane := done.lane
		lane.busy = false
		switch {
		case lane.first == nil && !lane.queued:
			delete(q.lanes, lane.channel)
		case lane.first != nil && q.ready.len() == 0 && !q.closed: // nobody else waits: stay
			lane.busy = true
			return q.take(lane), true
		case lane.first != nil && !lane.queued:
			lane.queued = true
			q.ready.push(lane)
		}
	}
	for {
		for q.ready.len() > 0 && !q.closed {
			lane := q.ready.pop()
			lane.queued = false
			if lane.first == nil { // its events were dropped
				delete(q.lanes, lane.channel)
				continue
			}
			lane.busy = true
			return q.take(lane), true
		}
		if q.closed {
			return nil, false
		}
		q.work.Wait()
	}
}

// close drops what waits and ends the workers.
func (q *liveQueue) close() (dropped int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	dropped = q.events
	q.lanes, q.oldest, q.last, q.events, q.bytes = nil, nil, nil, 0, 0
	q.ready = fifo[*liveLane]{}
	q.work.Broadcast()
	return dropped
}

// fifo is a queue that reuses its memory and gives it back when it has shrunk.
type fifo[T any] struct {
	items []T
	head  int
}

func (f *fifo[T]) len() int { return len(f.items) - f.head }

func (f *fifo[T]) push(v T) {
	if f.head > 32 && f.head*2 > len(f.items) {
		n := copy(f.items, f.items[f.head:])
		clear(f.items[n:])
		f.items, f.head = f.items[:n], 0
		if cap(f.items) > 4*n+256 {
			f.items = append([]T(nil), f.items...)
		}
	}
	f.items = append(f.items, v)
}

func (f *fifo[T]) pop() T {
	var zero T
	v := f.items[f.head]
	f.items[f.head] = zero
	f.head++
	return v
}

func (f *fifo[T]) at(i int) T { return f.items[f.head+i] }
