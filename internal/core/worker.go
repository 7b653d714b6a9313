package core

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
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

// job is one call of the client library.
type job struct {
	client   rueidis.Client
	cmd      rueidis.Completed
	multi    []rueidis.Completed
	ring     chan struct{}  // room in the connection's ring, nil where it is not bounded
	fallback rueidis.Client // asked if client is one node and that is the wrong one; the commands are pinned
}

type outcome struct {
	one  rueidis.RedisResult
	many []rueidis.RedisResult
}

// err is the first error of an outcome that is not an answer.
func (o *outcome) err() error {
	if o.many == nil {
		return o.one.NonRedisError()
	}
	for i := range o.many {
		if err := o.many[i].NonRedisError(); err != nil {
			return err
		}
	}
	return nil
}

// maxYields bounds how often a job is sent again because its dial gave way to direct calls.
const maxYields = 20

func (j *job) do() (o outcome) {
	if j.ring != nil {
		j.ring <- struct{}{}
		defer func() { <-j.ring }()
	}
	for range maxYields {
		if j.multi == nil {
			o.one = j.client.Do(detached, j.cmd)
		} else {
			o.many = j.client.DoMulti(detached, j.multi...)
		}
		if !errors.Is(o.err(), errDirectDial) { // else nothing was sent
			break
		}
	}
	if j.fallback != nil {
		j.redirect(&o)
	}
	return o
}

// keyless reports whether any command names no slot.
func (j *job) keyless() bool {
	if j.multi == nil {
		return j.cmd.Slot() >= slots
	}
	return slices.ContainsFunc(j.multi, func(cmd rueidis.Completed) bool { return cmd.Slot() >= slots })
}

// pin keeps the commands from being recycled, so that they can be sent again.
func (j *job) pin() {
	if j.multi == nil {
		j.cmd = j.cmd.Pin()
		return
	}
	for i := range j.multi {
		j.multi[i] = j.multi[i].Pin()
	}
}

// redirect asks the cluster's client again what one node has turned away, and so not executed.
func (j *job) redirect(o *outcome) {
	if j.multi == nil {
		if astray(o.one) {
			o.one = j.fallback.Do(detached, j.cmd)
		}
		return
	}
	var again []rueidis.Completed
	var at []int
	for i, r := range o.many {
		if astray(r) {
			again, at = append(again, j.multi[i]), append(at, i)
		}
	}
	if again != nil {
		for k, r := range j.fallback.DoMulti(detached, again...) {
			o.many[at[k]] = r
		}
	}
}

// astray reports whether an answer says that another node is to be asked.
func astray(r rueidis.RedisResult) bool {
	re, ok := errors.AsType[*rueidis.RedisError](r.Error())
	if !ok {
		return false
	}
	_, moved := re.IsMoved()
	_, ask := re.IsAsk()
	return moved || ask || strings.HasPrefix(re.Error(), "READONLY ")
}

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
	defer s.mu.Unlock()
	if p.closed.Load() {
		return nil
	}
	w := &worker{in: make(chan job, 1), out: make(chan outcome, 1), home: s}
	p.wg.Add(1) // under the lock that close takes before anybody waits
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
		o := j.do()
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
