package ratelimit

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/internal/tick"
)

// refusals remembers which keys Redis refused, so that they are refused here until their time (R4).
//
// An entry is believed for a second at most, so two generations of a second each hold all that matter, and nothing
// needs to be swept. A full generation takes no new keys: those ask Redis, which is slower but never wrong. Looking takes no
// lock.
type refusals struct {
	seed     maphash.Seed
	clock    *tick.Clock
	counters *counters
	shards   [refusalShards]refusalShard
}

const (
	refusalShards   = 64
	refusalsPerHalf = 512 // per shard and generation: 65,536 in all

	// believed and asking together are less than a second: when a refusal has been believed for long enough, one caller
	// asks Redis, and the others go on being refused until its answer, but no longer than asking.
	believed = 860 * time.Millisecond
	asking   = 100 * time.Millisecond

	// near is how long before its end a refusal is told to the microsecond. Earlier the time of the last tick will do: reading
	// the processor's clock is the dearest step of finding a refusal.
	near = time.Second
)

type refusalShard struct {
	now, old atomic.Pointer[refusalTable]
	mu       sync.Mutex // to write
	turned   time.Duration
	_        [32]byte // shards share no cache line
}

// refusal is one key's, of one plan. It fills two cache lines: what finding it reads, and what every hit writes.
type refusal struct {
	hash            uint64
	rule            *rule // of the plan
	key             string
	cost, remaining int32 // a limit is no larger
	// By the clock: when Redis is asked again, when the refusal ends, and when the rule is as if never used.
	ask          atomic.Int64
	retry, reset time.Duration

	hits atomic.Int64 // not yet in the counters, which all callers would meet on
	gone atomic.Bool  // not in a table any longer: whoever hits it still, collects
	_    [52]byte
}

func newRefusals(clock *tick.Clock, c *counters) *refusals {
	return &refusals{seed: maphash.MakeSeed(), clock: clock, counters: c}
}

func (r *refusals) shard(hash uint64) *refusalShard { return &r.shards[hash%refusalShards] }

// find returns the refusal of a key for a cost of at least what was refused, and the time.
func (r *refusals) find(p *plan, key string, n int64) (*refusal, time.Duration) {
	hash := maphash.String(r.seed, key)
	e := r.shard(hash).find(hash, p, key)
	if e == nil || n < int64(e.cost) {
		return nil, 0
	}
	now := r.clock.Now()
	if e.retry-now < near {
		now = r.clock.Exact()
	}
	if !e.holds(now) {
		return nil, 0
	}
	if e.hits.Add(1); e.gone.Load() {
		r.collect(e)
	}
	return e, now
}

// holds reports whether a refusal is to be believed. Once in a while one caller is told that it is not, and asks.
func (e *refusal) holds(now time.Duration) bool {
	if now >= e.retry {
		return false
	}
	ask := e.ask.Load()
	return int64(now) < ask || !e.ask.CompareAndSwap(ask, int64(now+asking))
}

// result is what a caller is told at a time.
func (e *refusal) result(now time.Duration) Result {
	now = max(now, time.Duration(e.ask.Load())-believed) // the last tick may be from before the refusal
	return Result{Rule: e.rule.Name, Limit: e.rule.Limit, Remaining: int64(e.remaining), RetryAfter: e.retry - now, ResetAfter: e.reset - now}
}

// add remembers a refusal. asked is a moment before Redis was asked.
func (r *refusals) add(p *plan, key string, n int64, asked time.Duration, result Result) {
	e := &refusal{
		hash: maphash.String(r.seed, key), rule: p.named(result.Rule), key: key, cost: int32(n), remaining: int32(result.Remaining),
		retry: asked + result.RetryAfter, reset: asked + result.ResetAfter,
	}
	e.ask.Store(int64(asked + believed))
	s := r.shard(e.hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if asked-s.turned > believed+asking {
		for e := range s.old.Load().all {
			r.drop(s, e)
		}
		s.old.Store(s.now.Load())
		s.now.Store(nil) // after that: who looks now finds it in one of them
		s.turned = asked
	}
	if before := s.find(e.hash, p, key); before != nil {
		if int64(before.cost) < n && before.retry > asked && before.ask.Load() > int64(asked) {
			return // it covers more
		}
		r.drop(s, before)
	}
	s.now.Store(s.now.Load().with(e))
}

// admitted drops a refusal that Redis has just contradicted: by admitting at least what was refused.
func (r *refusals) admitted(p *plan, key string, n int64) {
	hash := maphash.String(r.seed, key)
	s := r.shard(hash)
	if e := s.find(hash, p, key); e != nil && n >= int64(e.cost) {
		s.mu.Lock()
		r.drop(s, e)
		s.mu.Unlock()
	}
}

// drop removes an entry, if it is still there. The caller has the lock.
func (r *refusals) drop(s *refusalShard, e *refusal) {
	if s.now.Load().remove(e) || s.old.Load().remove(e) {
		e.gone.Store(true)
		r.collect(e)
	}
}

// forget drops a key in all plans.
func (r *refusals) forget(key string) {
	hash := maphash.String(r.seed, key)
	s := r.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range []*refusalTable{s.now.Load(), s.old.Load()} {
		for e := range t.all {
			if e.hash == hash && e.key == key {
				r.drop(s, e)
			}
		}
	}
}

// settle moves the hits that entries have counted to the counters.
func (r *refusals) settle() {
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		for _, t := range []*refusalTable{s.now.Load(), s.old.Load()} {
			for e := range t.all {
				r.collect(e)
			}
		}
		s.mu.Unlock()
	}
}

func (r *refusals) collect(e *refusal) {
	n := e.hits.Swap(0)
	if n == 0 {
		return
	}
	e.rule.refused.Add(n)
	r.counters.refusedLocally.Add(n)
	r.counters.top.add(e.key, n)
}

func (s *refusalShard) find(hash uint64, p *plan, key string) *refusal {
	if e := s.now.Load().find(hash, p, key); e != nil {
		return e
	}
	return s.old.Load().find(hash, p, key)
}

// refusalTable is a hash table that is read without a lock: open addresses, linear probing, half full at most. A nil one is
// empty.
type refusalTable struct {
	slots []atomic.Pointer[refusal]
	used  int // slots that are not nil
}

// removed stands where an entry was: others may lie behind it.
var removed = &refusal{}

func (t *refusalTable) find(hash uint64, p *plan, key string) *refusal {
	if t == nil {
		return nil
	}
	mask := uint64(len(t.slots) - 1)
	for i := hash / refusalShards; ; i++ {
		e := t.slots[i&mask].Load()
		if e == nil || e.hash == hash && p.has(e.rule) && e.key == key {
			return e
		}
	}
}

// with is the table with one more entry: another one if it had to grow, and unchanged if it may not.
func (t *refusalTable) with(e *refusal) *refusalTable {
	switch {
	case t == nil:
		t = &refusalTable{slots: make([]atomic.Pointer[refusal], 8)}
	case t.used == refusalsPerHalf:
		return t
	case 2*t.used == len(t.slots):
		larger := &refusalTable{slots: make([]atomic.Pointer[refusal], 2*len(t.slots))}
		for e := range t.all {
			larger.put(e)
		}
		t = larger
	}
	t.put(e)
	return t
}

func (t *refusalTable) put(e *refusal) {
	mask := uint64(len(t.slots) - 1)
	for i := e.hash / refusalShards; ; i++ {
		switch slot := &t.slots[i&mask]; slot.Load() {
		case nil:
			t.used++
			fallthrough
		case removed:
			slot.Store(e)
			return
		}
	}
}

func (t *refusalTable) remove(e *refusal) bool {
	if t == nil {
		return false
	}
	mask := uint64(len(t.slots) - 1)
	for i := e.hash / refusalShards; ; i++ {
		switch slot := &t.slots[i&mask]; slot.Load() {
		case nil:
			return false
		case e:
			slot.Store(removed)
			return true
		}
	}
}

// all yields the entries.
func (t *refusalTable) all(yield func(*refusal) bool) {
	if t == nil {
		return
	}
	for i := range t.slots {
		if e := t.slots[i].Load(); e != nil && e != removed && !yield(e) {
			return
		}
	}
}
