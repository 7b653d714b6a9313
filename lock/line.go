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
	lineBatch   = 50 // names that one script tends, where it may touch several
	lineFlights = 8  // requests on their way at once
	lineSample  = 32 // waiters of a name, the first ones and as many in turn, that one script looks for in the queue
)

// lines keep this process' places in queues: once per poll and name, however many wait for it, a script says that the
// process lives, passes on what has become free, and looks for some of the waiters in the queue. Those that are not there
// ask again: they were passed the lock and the message was lost, or the server has lost the queue. One goroutine, and only
// while there are waiters.
type lines struct {
	locker *Locker
	wake   chan struct{}

	mu      sync.Mutex
	names   map[string]*line // by state key
	due     lineHeap
	running bool
	flight  int
}

// line is the waiters of this process for one name.
type line struct {
	target  *target
	waiters places
	turn    int // of those that are looked for in turn
	next    time.Duration
	known   bearing
	failure error // of the last request, if it had no answer
	place   int   // in the heap, -1 while its request is on its way
}

func newLines(l *Locker) *lines {
	return &lines{locker: l, wake: make(chan struct{}, 1), names: make(map[string]*line)}
}

// join adds a waiter that the server has put into the queues of a target.
func (s *lines) join(id string, t *target, soon time.Duration, known bearing) {
	s.mu.Lock()
	next := s.locker.clock().mono + nextPoll(soon)
	for _, part := range t.each() {
		ln := s.names[part.state[0]]
		if ln == nil {
			ln = &line{target: part, next: next, known: known}
			s.names[part.state[0]] = ln
			heap.Push(&s.due, ln)
		} else if ln.place >= 0 && next < ln.next {
			ln.next = next
			heap.Fix(&s.due, ln.place)
		}
		ln.waiters.add(id)
	}
	if !s.running {
		s.running = s.locker.core.Group().Go("places in queues for locks", s.run)
	}
	s.mu.Unlock()
	s.poke()
}

// leave ends join.
func (s *lines) leave(id string, t *target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, part := range t.each() {
		ln := s.names[part.state[0]]
		if ln == nil {
			continue
		}
		if ln.waiters.remove(id); ln.waiters.len() == 0 {
			delete(s.names, part.state[0])
			if ln.place >= 0 {
				heap.Remove(&s.due, ln.place)
			}
		}
	}
}

// state is the latest relation to the server's clock, and the error of the last request, if it had no answer.
func (s *lines) state(t *target, known bearing) (bearing, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ln := s.names[t.each()[0].state[0]]
	if ln == nil {
		return known, nil
	}
	if ln.known.server > known.server {
		known = ln.known
	}
	return known, ln.failure
}

func (s *lines) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *lines) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-s.wake:
		}
		wait, idle := s.look()
		if idle {
			return
		}
		timer.Reset(wait)
	}
}

// look sends what is due and says how long until more is.
func (s *lines) look() (wait time.Duration, idle bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.locker.clock().mono
	batches := map[*family][]*line{}
	for len(s.due) > 0 && s.due[0].next <= now+poll/20 && s.flight < lineFlights { // those due soon after go along
		ln := heap.Pop(&s.due).(*line)
		if len(batches) == 0 && ln.next > now {
			heap.Push(&s.due, ln)
			break
		}
		f := ln.target.family
		if batches[f] = append(batches[f], ln); len(batches[f]) == lineBatch {
			s.start(f, batches[f])
			delete(batches, f)
		}
	}
	for f, batch := range batches {
		s.start(f, batch)
	}

	s.running = len(s.names) > 0
	switch {
	case len(s.due) == 0 || s.flight >= lineFlights:
		return poll, !s.running
	default:
		return max(s.due[0].next-now, time.Millisecond), !s.running
	}
}

// start sends the requests of some lines.
func (s *lines) start(f *family, batch []*line) {
	size := lineBatch
	if s.locker.cluster && s.locker.opt.Group == "" {
		size = 1 // a script touches one slot
	}
	var calls []core.Call
	asked := make([][]string, len(batch))
	for start := 0; start < len(batch); start += size {
		call := core.Call{Args: []string{s.locker.process, aliveArg, retentionArg, ""}}
		for i := start; i < min(start+size, len(batch)); i++ {
			ln := batch[i]
			asked[i] = ln.waiters.sample(&ln.turn)
			call.Keys = append(call.Keys, s.locker.keys(ln.target)...)
			if ln.target.permits != "" {
				call.Args = append(call.Args, ln.target.permits)
			}
			call.Args = append(call.Args, strconv.Itoa(len(asked[i])))
			call.Args = append(call.Args, asked[i]...)
		}
		calls = append(calls, call)
	}

	s.flight++
	if !s.locker.core.Group().Go("places in queues for locks", func(ctx context.Context) { s.send(ctx, f, batch, asked, calls, size) }) {
		s.flight--
	}
}

// send makes the requests, wakes the waiters that must ask, and plans the next requests.
func (s *lines) send(ctx context.Context, f *family, batch []*line, asked [][]string, calls []core.Call, size int) {
	l := s.locker
	publish := l.core.PublishCommand(ctx)
	for _, call := range calls {
		call.Args[3] = publish
	}
	sent := l.clock()
	results := l.core.EvalMulti(ctx, f.pulse, calls)
	now := l.clock().mono
	var absent []string
	s.mu.Lock()
	s.flight--
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
		for k, ln := range part {
			var soon time.Duration
			var ask []string
			if err == nil {
				soon, ask, rest, err = ln.read(rest, asked[i*size+k])
			}
			absent = append(absent, ask...)
			if ln.failure = err; err != nil {
				ln.next = now + retryMin + rand.N(retryMin)
			} else {
				ln.known = bearing{sent, numbers[0]}
				ln.next = now + nextPoll(soon)
			}
			if ln.waiters.len() > 0 && s.names[ln.target.state[0]] == ln {
				heap.Push(&s.due, ln)
			}
		}
	}
	s.mu.Unlock()
	l.wakes.ask(absent)
	s.poke()
}

// read takes one line's part of an answer off: when the lock may be free, and the waiters that must ask.
func (ln *line) read(rest []int64, asked []string) (soon time.Duration, ask []string, _ []int64, err error) {
	if len(rest) < 2 {
		return 0, nil, nil, fmt.Errorf("%w: a script answered too few numbers", redstart.ErrCorrupt)
	}
	soon = time.Duration(rest[0]) * time.Millisecond
	n, rest := rest[1], rest[2:]
	switch {
	case n == -1:
		return soon, ln.waiters.list(), rest, nil
	case n == -2:
		if id := ln.waiters.first(all); id != "" { // it may be at the head
			return soon, []string{id}, rest, nil
		}
		return soon, nil, rest, nil
	case n < 0 || n > int64(len(rest)):
		return 0, nil, nil, fmt.Errorf("%w: a script answered %d of %d numbers", redstart.ErrCorrupt, len(rest), n)
	}
	for _, at := range rest[:n] {
		if at < 1 || at > int64(len(asked)) {
			return 0, nil, nil, fmt.Errorf("%w: a script answered the index %d", redstart.ErrCorrupt, at)
		}
		ask = append(ask, asked[at-1])
	}
	if len(ask) == len(asked) && len(ask) > 1 {
		ask = ln.waiters.list() // the queue is lost, or all were served at once
	}
	return soon, ask, rest[n:], nil
}

// lineHeap is the lines by when they are due.
type lineHeap []*line

func (h lineHeap) Len() int           { return len(h) }
func (h lineHeap) Less(i, j int) bool { return h[i].next < h[j].next }
func (h lineHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *lineHeap) Push(x any) {
	ln := x.(*line)
	ln.place = len(*h)
	*h = append(*h, ln)
}

func (h *lineHeap) Pop() any {
	old := *h
	ln := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	ln.place = -1
	return ln
}
