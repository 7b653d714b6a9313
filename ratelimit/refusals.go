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
// An entry is believed for a second at most, and those that are not believed any longer are dropped when their shard is full. If all
// are, it takes no new keys: those ask Redis, which is slower but never wrong. Looking takes no lock.
type refusals struct {
	seed     maphash.Seed
	clock    *tick.Clock
	counters *counters
	shards   [refusalShards]refusalShard
}

const (
	refusalShards    = 64
	refusalsPerShard = 1024 // 65,536 in all

	// believed and asking together are less than a second: when a refusal has been believed for long enough, one caller
	// asks Redis, and the others go on being refused until its answer, but no longer than asking.
	believed = 860 * time.Millisecond
	asking   = 100 * time.Millisecond

	// near is how long before its end a refusal is told to the microsecond. Earlier the time of the last tick will do: reading
	// the processor's clock is the dearest step of finding a refusal.
	near = time.Second
)

type refusalShard struct {
	table atomic.Pointer[refusalTable]
	mu    sync.Mutex // to write
	full  time.Duration
	_     [40]byte // shards share no cache line
}

// refusal is one key's, of one plan. It fills two cache lines: what finding it reads, and what every hit writes.
type refusal struct {
	hash            uint64
	rule            *rule // of the plan
	key             string
	cost, remaining int32 // a limit is no larger
	// By the clock: when Redis is asked again, when the refusal ends, and when the rule is as if never used.
	ask, retry, reset time.Duration

	hits  atomic.Int64 // not yet in the counters, which all callers would meet on
	asked atomic.Bool  // somebody has gone to ask Redis again
	gone  atomic.Bool  // not in a table any longer: whoever hits it still, collects
	_     [48]byte
}

func newRefusals(clock *tick.Clock, c *counters) *refusals {
	return &refusals{seed: maphash.MakeSeed(), clock: clock, counters: c}
}

func (r *refusals) shard(hash uint64) *refusalShard { return &r.shards[hash%refusalShards] }

// find returns the refusal of a key for a cost of at least what was refused, and the time.
func (r *refusals) find(p *plan, key string, n int64) (*refusal, time.Duration) {
	hash := maphash.String(r.seed, key)
	e := r.shard(hash).table.Load().find(hash, p, key)
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
	r.hit(e)
	return e, now
}

func (r *refusals) hit(e *refusal) {
	if e.hits.Add(1); e.gone.Load() {
		r.collect(e)
	}
}

// holds reports whether a refusal is to be believed. Once in its life one caller is told that it is not, and asks.
func (e *refusal) holds(now time.Duration) bool {
	return now < e.retry && (now < e.ask || now < e.ask+asking && !e.asked.CompareAndSwap(false, true))
}

// result is what a caller is told at a time.
func (e *refusal) result(now time.Duration) Result {
	now = max(now, e.ask-believed) // the last tick may be from before the refusal
	return Result{Rule: e.rule.Name, Limit: e.rule.Limit, Remaining: int64(e.remaining), RetryAfter: e.retry - now, ResetAfter: e.reset - now}
}

// add remembers a refusal. asked is a moment before Redis was asked.
func (r *refusals) add(p *plan, key string, n int64, asked time.Duration, result Result) {
	e := &refusal{
		hash: maphash.String(r.seed, key), rule: p.named(result.Rule), key: key, cost: int32(n), remaining: int32(result.Remaining),
		ask: asked + believed, retry: asked + result.RetryAfter, reset: asked + result.ResetAfter,
	}
	s := r.shard(e.hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table.Load()
	if before := t.find(e.hash, p, key); before != nil {
		if int64(before.cost) < n && before.retry > asked && before.ask > asked {
			return // it covers more
		}
		t.swap(before, e)
		r.left(before)
		return
	}
	if t == nil || 2*t.used == len(t.slots) {
		if t = r.cleared(s, asked); t == nil {
			return
		}
	}
	t.put(e)
}

// cleared gives a shard a table with room, and without what is not believed any longer; nil if there would be no room in it.
func (r *refusals) cleared(s *refusalShard, now time.Duration) *refusalTable {
	if now < s.full {
		return nil
	}
	before, live := s.table.Load(), 0
	for e := range before.all {
		if now < e.ask+asking {
			live++
		}
	}
	if live > refusalsPerShard*7/8 {
		s.full = now + asking // looking at all of them for each new key would cost more than asking
		return nil
	}
	slots := 8
	for slots < min(4*live, 2*refusalsPerShard) {
		slots *= 2
	}
	t := &refusalTable{slots: make([]atomic.Pointer[refusal], slots)}
	for e := range before.all {
		if now < e.ask+asking {
			t.put(e)
		}
	}
	s.table.Store(t)
	for e := range before.all {
		if now >= e.ask+asking {
			r.left(e)
		}
	}
	return t
}

// admitted drops a refusal that Redis has just contradicted: by admitting at least what was refused.
func (r *refusals) admitted(p *plan, key string, n int64) {
	hash := maphash.String(r.seed, key)
	s := r.shard(hash)
	if e := s.table.Load().find(hash, p, key); e != nil && n >= int64(e.cost) {
		s.mu.Lock()
		r.drop(s, e)
		s.mu.Unlock()
	}
}

// drop removes an entry, if it is still there. The caller has the lock.
func (r *refusals) drop(s *refusalShard, e *refusal) {
	if s.table.Load().swap(e, removed) {
		r.left(e)
	}
}

// left collects from an entry that is in no table any longer.
func (r *refusals) left(e *refusal) {
	e.gone.Store(true)
	r.collect(e)
}

// forget drops a key in all plans.
func (r *refusals) forget(key string) {
	hash := maphash.String(r.seed, key)
	s := r.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := range s.table.Load().all {
		if e.hash == hash && e.key == key {
			r.drop(s, e)
		}
	}
}

// settle moves the hits that entries have counted to the counters.
func (r *refusals) settle() {
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		for e := range s.table.Load().all {
			r.collect(e)
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

// put adds an entry of a key that the table does not have. There is room.
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

// swap puts another entry into one's place, if it is there.
func (t *refusalTable) swap(e, other *refusal) bool {
	if t == nil {
		return false
	}
	mask := uint64(len(t.slots) - 1)
	for i := e.hash / refusalShards; ; i++ {
		switch slot := &t.slots[i&mask]; slot.Load() {
		case nil:
			return false
		case e:
			slot.Store(other)
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
