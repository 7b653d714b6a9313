package events

import "sync"

// liveQueue holds live events between the reader of a connection, which must never wait, and the
// workers. At most one worker handles the events of a channel at a time.
type liveQueue struct {
	mu           sync.Mutex
	work         sync.Cond
	channels     map[string]*liveChannel
	ready        fifo[*liveChannel]
	oldest, last *liveEvent // all waiting events, in the order of arrival
	events       int
	bytes        int
	limit        int
	limitBytes   int
	policy       Overflow
	closed       bool
}

// liveChannelState is the state of a channel in a liveQueue:
//
//	idle → ready     an event arrives
//	ready → busy     a worker takes the first event
//	busy → ready     the worker is done, and more events wait
//	busy → removed   the worker is done, and no event waits
//	ready → removed  all waiting events were dropped
type liveChannelState uint8

const (
	liveChannelIdle liveChannelState = iota
	liveChannelReady
	liveChannelBusy
)

type liveChannel struct {
	name        string
	first, last *liveEvent
	state       liveChannelState
}

type liveEvent struct {
	text         string
	handlers     handlerSet
	channel      *liveChannel
	older, newer *liveEvent // in the queue
	next         *liveEvent // in the channel
}

func newLiveQueue(limit, limitBytes int, policy Overflow) *liveQueue {
	q := &liveQueue{channels: make(map[string]*liveChannel), limit: limit, limitBytes: limitBytes, policy: policy}
	q.work.L = &q.mu
	return q
}

// push adds an event. It never waits. It returns how many events were dropped because the queue was
// full. The result ok is false if the queue was full and the policy is Disconnect.
func (q *liveQueue) push(channel, text string, handlers handlerSet) (dropped int, ok bool) {
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
		q.take(q.oldest.channel)
	}

	c := q.channels[channel]
	if c == nil {
		c = &liveChannel{name: channel}
		q.channels[channel] = c
	}
	e := &liveEvent{text: text, handlers: handlers, channel: c, older: q.last}
	if q.last != nil {
		q.last.newer = e
	} else {
		q.oldest = e
	}
	q.last = e
	if c.last != nil {
		c.last.next = e
	} else {
		c.first = e
	}
	c.last = e
	q.events++
	q.bytes += len(text)

	if c.state == liveChannelIdle {
		c.state = liveChannelReady
		q.ready.push(c)
		q.work.Signal()
	}
	return dropped, true
}

// take removes the first event of a channel. The oldest event of the queue is the first event of
// its channel.
func (q *liveQueue) take(c *liveChannel) *liveEvent {
	e := c.first
	if c.first = e.next; c.first == nil {
		c.last = nil
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

// next waits for an event of a channel that no worker handles. The argument done is the event that
// the worker has handled before, or nil.
func (q *liveQueue) next(done *liveEvent) (e *liveEvent, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if done != nil {
		switch c := done.channel; {
		case c.first == nil:
			delete(q.channels, c.name)
		case q.ready.len() == 0 && !q.closed: // no other channel waits: the worker keeps this one
			return q.take(c), true
		default:
			c.state = liveChannelReady
			q.ready.push(c)
		}
	}

	for {
		for q.ready.len() > 0 && !q.closed {
			c := q.ready.pop()
			if c.first == nil { // its events were dropped
				delete(q.channels, c.name)
				continue
			}
			c.state = liveChannelBusy
			return q.take(c), true
		}
		if q.closed {
			return nil, false
		}
		q.work.Wait()
	}
}

// close drops all waiting events and ends the workers.
func (q *liveQueue) close() (dropped int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	dropped = q.events
	q.channels, q.oldest, q.last, q.events, q.bytes = nil, nil, nil, 0, 0
	q.ready = fifo[*liveChannel]{}
	q.work.Broadcast()
	return dropped
}

// fifo is a queue. It reuses its memory, and releases memory when it has become short.
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
