package core

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// A client call can block where its context is not looked at: in a full ring, behind
// another caller's dial. So every call runs on a worker's goroutine and the caller
// waits with a select; a caller that leaves abandons the worker, which comes back
// when the client lets go of it. Workers are reused: a call costs two
// goroutine switches and no allocation.
type workers struct {
	shards    [8]shard
	abandoned atomic.Int64
	closed    atomic.Bool
	wg        sync.WaitGroup
}

type shard struct {
	mu   sync.Mutex
	idle []*worker
	low  int // fewest idle workers since the last reap
	_    [64]byte
}

type worker struct {
	in    chan job
	out   chan outcome // holds one, so that a worker never waits for its caller
	state atomic.Int32
	home  *shard
}

const (
	working = iota
	answered
	left
)

type job struct {
	client rueidis.Client
	cmd    rueidis.Completed
	multi  []rueidis.Completed
}

type outcome struct {
	one  rueidis.RedisResult
	many []rueidis.RedisResult
}

// err is what the network did to the call, or to its first command.
func (o *outcome) err() error {
	if o.many != nil {
		return o.many[0].NonRedisError()
	}
	return o.one.NonRedisError()
}

// dialLater reports whether the call met a dial that was put off: nothing was sent.
func (o *outcome) dialLater() bool { return errors.Is(o.err(), errDialLater) }

// maxAbandoned bounds the workers that a dead server can hold. Past it, calls fail at once.
const maxAbandoned = 4096

const reapEvery = 5 * time.Second

func (p *workers) get() *worker {
	s := &p.shards[rand.Uint32()%uint32(len(p.shards))]
	s.mu.Lock()
	if n := len(s.idle); n > 0 {
		w := s.idle[n-1]
		s.idle[n-1] = nil
		s.idle = s.idle[:n-1]
		s.low = min(s.low, n-1)
		s.mu.Unlock()
		return w
	}
	s.mu.Unlock()
	if p.closed.Load() {
		return nil
	}
	w := &worker{in: make(chan job, 1), out: make(chan outcome, 1), home: s}
	p.wg.Add(1)
	go p.serve(w)
	return w
}

func (p *workers) put(w *worker) {
	w.state.Store(working)
	s := w.home
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.closed.Load() {
		close(w.in)
		return
	}
	s.idle = append(s.idle, w)
}

func (p *workers) serve(w *worker) {
	defer p.wg.Done()
	for j := range w.in {
		var o outcome
		if j.multi != nil {
			o.many = j.client.DoMulti(detached, j.multi...)
		} else {
			o.one = j.client.Do(detached, j.cmd)
		}
		if w.state.CompareAndSwap(working, answered) {
			w.out <- o
			continue
		}
		p.abandoned.Add(-1)
		p.put(w)
	}
}

// abandon gives up the wait for w. If the answer came in the meantime, it returns that.
func (p *workers) abandon(w *worker) (outcome, bool) {
	p.abandoned.Add(1)
	if w.state.CompareAndSwap(working, left) {
		return outcome{}, false
	}
	p.abandoned.Add(-1)
	o := <-w.out
	p.put(w)
	return o, true
}

// reap ends the workers that nobody needed since the last reap.
func (p *workers) reap() {
	for i := range p.shards {
		s := &p.shards[i]
		s.mu.Lock()
		n := min(s.low, len(s.idle))
		for _, w := range s.idle[:n] {
			close(w.in)
		}
		s.idle = append(s.idle[:0], s.idle[n:]...)
		s.low = len(s.idle)
		s.mu.Unlock()
	}
}

// close ends the idle workers; those at work end after their call.
func (p *workers) close() {
	p.closed.Store(true)
	for i := range p.shards {
		s := &p.shards[i]
		s.mu.Lock()
		for _, w := range s.idle {
			close(w.in)
		}
		s.idle = nil
		s.mu.Unlock()
	}
}
