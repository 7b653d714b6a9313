package ratelimit

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/internal/stripe"
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

// refusal is one key's, of one plan. It fills a cache line, and is not written to by who finds it.
type refusal struct {
	hash            uint32
	late            atomic.Uint32 // µs that the answer took, and asked
	rule            *rule         // of the plan
	key             string
	cost, remaining int32 // a limit is no larger
	// By the clock: when Redis is asked again; the latest time at which Redis admits, and at which the rule is as if never used.
	// Redis counts from a moment between the request and the answer: callers wait from the answer on, but the refusal ends as if
	// Redis had counted from the request.
	ask, retry, reset time.Duration
}

// asked is set in late once a caller has gone to ask Redis again.
const asked = 1 << 31

// latency is how long the answer took.
func (e *refusal) latency() time.Duration { return micros(int64(e.late.Load() &^ asked)) }

// claim reports whether this caller is the one that asks Redis again.
func (e *refusal) claim() bool {
	late := e.late.Load()
	return late&asked == 0 && e.late.CompareAndSwap(late, late|asked)
}

func newRefusals(clock *tick.Clock, c *counters) *refusals {
	return &refusals{seed: maphash.MakeSeed(), clock: clock, counters: c}
}

func (r *refusals) hash(key string) uint32 { return uint32(maphash.String(r.seed, key)) }

func (r *refusals) shard(hash uint32) *refusalShard { return &r.shards[hash%refusalShards] }

// find returns the refusal of a key for a cost of at least what was refused, and the time.
func (r *refusals) find(p *plan, key string, n int64) (*refusal, time.Duration) {
	hash := r.hash(key)
	t := r.shard(hash).table.Load()
	e, at := t.find(hash, p, key)
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
	r.hit(t, e, at)
	return e, now
}

// hit counts one. All who meet on a key would meet on its counter, so there are several, and Stats adds them up.
func (r *refusals) hit(t *refusalTable, e *refusal, at uint32) {
	n := t.counter(stripe.Of(stripes), at)
	n.Add(1)
	if t.slots[at].Load() == e {
		return
	}
	// It left the table meanwhile: unless who took it out counted this hit already, it is counted here.
	for left := n.Load(); left > 0; left = n.Load() {
		if n.CompareAndSwap(left, left-1) {
			r.count(e, 1)
			return
		}
	}
}

// holds reports whether a refusal is to be believed. Once in its life one caller is told that it is not, and asks.
func (e *refusal) holds(now time.Duration) bool {
	return now < e.retry-e.latency() && (now < e.ask || now < e.ask+asking && !e.claim())
}

// result is what a caller is told at a time.
func (e *refusal) result(now time.Duration) Result {
	now = max(now, e.ask-believed+e.latency()) // the last tick may be from before the answer
	result := Result{Rule: e.rule.Name, Limit: e.rule.Limit, Remaining: int64(e.remaining), RetryAfter: e.retry - now, ResetAfter: e.reset - now}
	if e.cost == e.remaining+1 {
		result.NextAfter = result.RetryAfter
	}
	return result
}

// add remembers a refusal. Redis was asked after sent, and its answer was here at answered.
func (r *refusals) add(p *plan, key string, n int64, sent, answered time.Duration, result Result) {
	e := &refusal{
		hash: r.hash(key), rule: p.named(result.Rule), key: key, cost: int32(n), remaining: int32(result.Remaining),
		ask: sent + believed, retry: answered + result.RetryAfter, reset: answered + result.ResetAfter,
	}
	e.late.Store(uint32(min(ceilDiv(int64(answered-sent), 1000), asked-1)))
	s := r.shard(e.hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table.Load()
	if before, at := t.find(e.hash, p, key); before != nil {
		if int64(before.cost) < n && before.retry > sent && before.ask > sent {
			return // it covers more
		}
		r.swap(t, at, e)
		return
	}
	if t == nil || 2*t.used == len(t.slots) {
		if t = r.cleared(s, sent); t == nil {
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
	for _, e := range before.all {
		if now < e.ask+asking {
			live++
		}
	}
	if live > refusalsPerShard*7/8 {
		s.full = now + asking // looking at all of them for each new key would cost more than asking
		return nil
	}
	slots := 16
	for slots < min(4*live, 2*refusalsPerShard) {
		slots *= 2
	}
	t := newRefusalTable(slots)
	for _, e := range before.all {
		if now < e.ask+asking {
			t.put(e)
		}
	}
	s.table.Store(t)
	for at := range before.all { // also from those who look there still
		r.swap(before, at, removed)
	}
	return t
}

// admitted drops a refusal that Redis has just contradicted: by admitting at least what was refused.
func (r *refusals) admitted(p *plan, key string, n int64) {
	hash := r.hash(key)
	s := r.shard(hash)
	if e, _ := s.table.Load().find(hash, p, key); e == nil || n < int64(e.cost) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table.Load()
	if e, at := t.find(hash, p, key); e != nil && n >= int64(e.cost) {
		r.swap(t, at, removed)
	}
}

// swap puts something else into an entry's place. The caller has the lock.
func (r *refusals) swap(t *refusalTable, at uint32, other *refusal) {
	e := t.slots[at].Swap(other)
	r.count(e, t.collect(at))
}

// forget drops a key in all plans.
func (r *refusals) forget(key string) {
	hash := r.hash(key)
	s := r.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table.Load()
	for at, e := range t.all {
		if e.hash == hash && e.key == key {
			r.swap(t, at, removed)
		}
	}
}

// settle moves the hits that tables have counted to the counters.
func (r *refusals) settle() {
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		t := s.table.Load()
		for at, e := range t.all {
			r.count(e, t.collect(at))
		}
		s.mu.Unlock()
	}
}

func (r *refusals) count(e *refusal, n int64) {
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
	used  int            // slots that are not nil
	hits  []atomic.Int32 // not yet in the counters: of each slot, in one stripe after the other
}

const stripes = 8

// removed stands where an entry was: others may lie behind it.
var removed = &refusal{}

// newRefusalTable has at least 16 slots, so that stripes share no cache line.
func newRefusalTable(slots int) *refusalTable {
	return &refusalTable{slots: make([]atomic.Pointer[refusal], slots), hits: make([]atomic.Int32, stripes*slots)}
}

// find returns an entry and its place.
func (t *refusalTable) find(hash uint32, p *plan, key string) (*refusal, uint32) {
	if t == nil {
		return nil, 0
	}
	mask := uint32(len(t.slots) - 1)
	for i := hash / refusalShards; ; i++ {
		e := t.slots[i&mask].Load()
		if e == nil || e.hash == hash && p.has(e.rule) && e.key == key {
			return e, i & mask
		}
	}
}

// put adds an entry of a key that the table does not have. There is room.
func (t *refusalTable) put(e *refusal) {
	mask := uint32(len(t.slots) - 1)
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

func (t *refusalTable) counter(stripe int, at uint32) *atomic.Int32 {
	return &t.hits[stripe*len(t.slots)+int(at)]
}

// collect takes the hits of a place out.
func (t *refusalTable) collect(at uint32) (n int64) {
	for i := range stripes {
		if c := t.counter(i, at); c.Load() != 0 {
			n += int64(c.Swap(0))
		}
	}
	return n
}

// all yields the entries and their places.
func (t *refusalTable) all(yield func(uint32, *refusal) bool) {
	if t == nil {
		return
	}
	for i := range t.slots {
		if e := t.slots[i].Load(); e != nil && e != removed && !yield(uint32(i), e) {
			return
		}
	}
}
