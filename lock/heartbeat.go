package lock

import (
	"container/heap"
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/core"
)

const (
	heartbeatBatch     = 50 // names in one script, if a script may touch several
	heartbeatsInFlight = 8  // requests in flight
	// a script looks for the first 32 waiters of a name in the queue, and for 32 others in turn
	heartbeatSample = 32
)

// heartbeats keep the places of this process in queues. Once per pollEvery and name, for all
// waiters of the name, a script records that the process is alive, hands on what is free, and looks
// for some of the waiters in the queue. Waiters that are not in the queue ask again: the lock was
// handed to them and the message was lost, or the server lost the queue. There is one goroutine,
// while there are waiters.
type heartbeats struct {
	locker *Locker
	wake   stepper

	mu       sync.Mutex
	names    map[string]*heartbeat // by the first key of the target
	due      heartbeatHeap
	running  bool
	inFlight int
}

// heartbeat is the waiters of this process for one name.
type heartbeat struct {
	target    *target
	waiters   waiterList
	cursor    int // position of the waiters that are looked for in turn
	next      time.Duration
	reading   clockReading
	failure   error // error of the last request; nil after an answer
	heapIndex int   // -1 while a request is in flight
}

func newHeartbeats(l *Locker) *heartbeats {
	return &heartbeats{locker: l, wake: newStepper(l.core.Time()), names: make(map[string]*heartbeat)}
}

// join adds a waiter that the server has put into the queues of a target.
func (h *heartbeats) join(id string, t *target, freeIn time.Duration, reading clockReading) {
	h.mu.Lock()
	next := h.locker.clock().mono + nextPoll(freeIn)
	for _, part := range t.each() {
		hb := h.names[part.state[0]]
		if hb == nil {
			hb = &heartbeat{target: part, next: next, reading: reading}
			h.names[part.state[0]] = hb
			heap.Push(&h.due, hb)
		} else if hb.heapIndex >= 0 && next < hb.next {
			hb.next = next
			heap.Fix(&h.due, hb.heapIndex)
		}
		hb.waiters.add(id)
	}

	if !h.running {
		h.running = h.locker.core.Group().Go("places in queues for locks", func(ctx context.Context) { h.wake.run(ctx, h.step) })
	}

	h.mu.Unlock()
	h.wake.signal()
}

// leave removes a waiter that join added.
func (h *heartbeats) leave(id string, t *target) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, part := range t.each() {
		hb := h.names[part.state[0]]
		if hb == nil {
			continue
		}
		if hb.waiters.remove(id); hb.waiters.len() == 0 {
			delete(h.names, part.state[0])
			if hb.heapIndex >= 0 {
				heap.Remove(&h.due, hb.heapIndex)
			}
		}
	}
}

// latest returns the later of a reading of the server's clock and the reading of the last heartbeat
// for a target.
func (h *heartbeats) latest(t *target, reading clockReading) clockReading {
	h.mu.Lock()
	defer h.mu.Unlock()

	if hb := h.names[t.each()[0].state[0]]; hb != nil && hb.reading.server > reading.server {
		return hb.reading
	}
	return reading
}

// failureOf returns the error of the last heartbeat for a target, or nil after an answer.
func (h *heartbeats) failureOf(t *target) error {
	h.mu.Lock()
	defer h.mu.Unlock()

	if hb := h.names[t.each()[0].state[0]]; hb != nil {
		return hb.failure
	}
	return nil
}

// step sends the heartbeats that are due. wait is the time until the next step.
func (h *heartbeats) step() (wait time.Duration, idle bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.locker.clock().mono
	batches := map[*scriptSet][]*heartbeat{}
	// heartbeats that are due soon are sent in the same request
	for len(h.due) > 0 && h.due[0].next <= now+pollEvery/20 && h.inFlight < heartbeatsInFlight {
		hb := heap.Pop(&h.due).(*heartbeat)
		if len(batches) == 0 && hb.next > now {
			heap.Push(&h.due, hb)
			break
		}
		f := hb.target.scripts
		if batches[f] = append(batches[f], hb); len(batches[f]) == heartbeatBatch {
			h.start(f, batches[f])
			delete(batches, f)
		}
	}

	for f, batch := range batches {
		h.start(f, batch)
	}

	h.running = len(h.names) > 0
	switch {
	case len(h.due) == 0 || h.inFlight >= heartbeatsInFlight:
		return pollEvery, !h.running
	default:
		return max(h.due[0].next-now, time.Millisecond), !h.running
	}
}

// start sends the requests of some heartbeats.
func (h *heartbeats) start(f *scriptSet, batch []*heartbeat) {
	size := heartbeatBatch
	if h.locker.cluster && h.locker.opt.Group == "" {
		size = 1 // a script may touch one slot
	}

	var calls []core.Call
	asked := make([][]string, len(batch))
	for start := 0; start < len(batch); start += size {
		call := core.Call{Args: []string{h.locker.process, aliveForArg, retentionArg, ""}}
		for i := start; i < min(start+size, len(batch)); i++ {
			hb := batch[i]
			asked[i] = hb.waiters.sample(&hb.cursor)
			call.Keys = append(call.Keys, h.locker.keys(hb.target)...)
			if hb.target.permits != "" {
				call.Args = append(call.Args, hb.target.permits)
			}
			call.Args = append(call.Args, strconv.Itoa(len(asked[i])))
			call.Args = append(call.Args, asked[i]...)
		}
		calls = append(calls, call)
	}

	h.inFlight++
	if !h.locker.core.Group().Go("places in queues for locks",
		func(ctx context.Context) { h.send(ctx, f, batch, asked, calls, size) }) {
		h.inFlight--
	}
}

// send sends the requests, wakes the waiters that must ask, and plans the next requests.
func (h *heartbeats) send(ctx context.Context, f *scriptSet, batch []*heartbeat, asked [][]string, calls []core.Call, size int) {
	l := h.locker
	publish := l.core.PublishCommand(ctx)
	for _, call := range calls {
		call.Args[3] = publish
	}

	sent := l.clock()
	results := l.core.EvalMulti(ctx, f.heartbeat, calls)
	now := l.clock().mono
	var absent []string
	h.mu.Lock()
	h.inFlight--
	for i, r := range results {
		part := batch[i*size : min((i+1)*size, len(batch))]
		msg, err := r.Get()
		var numbers []int64
		if err == nil {
			numbers, err = msg.AsIntSlice()
		}
		rest := numbers
		if len(rest) > 0 {
			rest = rest[1:]
		}
		for k, hb := range part {
			var freeIn time.Duration
			var ask []string
			if err == nil {
				freeIn, ask, rest, err = hb.read(rest, asked[i*size+k])
			}
			absent = append(absent, ask...)
			if hb.failure = err; err != nil {
				hb.next = now + retryMin + rand.N(retryMin)
			} else {
				hb.reading = clockReading{sent, numbers[0]}
				hb.next = now + nextPoll(freeIn)
			}
			if hb.waiters.len() > 0 && h.names[hb.target.state[0]] == hb {
				heap.Push(&h.due, hb)
			}
		}
	}

	h.mu.Unlock()
	l.wakeUps.wakeIDs(absent)
	h.wake.signal()
}

// read parses the part of an answer that belongs to one name: when the lock may be free, and the
// waiters that must ask.
func (hb *heartbeat) read(rest []int64, asked []string) (freeIn time.Duration, ask []string, _ []int64, err error) {
	if len(rest) < 2 {
		return 0, nil, nil, fmt.Errorf("%w: the script answered too few numbers", redstart.ErrCorrupt)
	}

	freeIn = time.Duration(rest[0]) * time.Millisecond
	n, rest := rest[1], rest[2:]
	switch {
	case n == -1:
		return freeIn, hb.waiters.list(), rest, nil
	case n == -2:
		if id := hb.waiters.first(kindAll); id != "" { // it may be first in the queue
			return freeIn, []string{id}, rest, nil
		}
		return freeIn, nil, rest, nil
	case n < 0 || n > int64(len(rest)):
		return 0, nil, nil, fmt.Errorf("%w: the script answered %d of %d numbers", redstart.ErrCorrupt, len(rest), n)
	}

	for _, at := range rest[:n] {
		if at < 1 || at > int64(len(asked)) {
			return 0, nil, nil, fmt.Errorf("%w: the script answered the index %d", redstart.ErrCorrupt, at)
		}
		ask = append(ask, asked[at-1])
	}

	if len(ask) == len(asked) && len(ask) > 1 {
		ask = hb.waiters.list() // the queue is lost, or all waiters were served at once
	}

	return freeIn, ask, rest[n:], nil
}

// heartbeatHeap is a heap of heartbeats, ordered by when they are due.
type heartbeatHeap []*heartbeat

func (q heartbeatHeap) Len() int           { return len(q) }
func (q heartbeatHeap) Less(i, j int) bool { return q[i].next < q[j].next }
func (q heartbeatHeap) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].heapIndex, q[j].heapIndex = i, j
}

func (q *heartbeatHeap) Push(x any) {
	hb := x.(*heartbeat)
	hb.heapIndex = len(*q)
	*q = append(*q, hb)
}

func (q *heartbeatHeap) Pop() any {
	old := *q
	hb := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	hb.heapIndex = -1
	return hb
}
