package ratelimit

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/internal/clock"
	"github.com/redstart-go/redstart/internal/stripe"
)

// deniedKeys is the denied-key cache. It denies keys that Redis refused, until their time (R4).
//
// An entry is used for a second at most. Entries that are too old are dropped when their shard is
// full. If none is too old, the shard accepts no new keys: their callers ask Redis, which is slower
// but right. A lookup needs no mutex.
type deniedKeys struct {
	seed     maphash.Seed
	clock    *clock.Coarse
	counters *counters
	shards   [deniedShards]deniedShard
}

const (
	deniedShards   = 64
	deniedPerShard = 1024 // 65,536 in all

	// askAfter and askGrace together are less than a second. After askAfter, one caller asks Redis.
	// The others are denied until its answer, but no longer than askGrace.
	askAfter = 860 * time.Millisecond
	askGrace = 100 * time.Millisecond

	// exactBelow is the rest of a denial below which its time is exact to the microsecond. Above
	// it, the time of the last tick is enough, because reading the processor's clock is the most
	// expensive step of a lookup.
	exactBelow = time.Second
)

type deniedShard struct {
	table atomic.Pointer[deniedTable]
	mu    sync.Mutex // guards writes
	full  time.Duration
	_     [40]byte // shards share no cache line
}

// deniedKey is one denied key of one plan. It fills a cache line, and a lookup does not write to
// it.
type deniedKey struct {
	hash            uint32
	latencyFlags    atomic.Uint32 // latency of the answer in µs, and askedFlag
	rule            *rule         // rule of the plan
	key             string
	cost, remaining int32 // limits fit into 32 bits
	// By the clock: when Redis is asked again, the latest time at which Redis admits, and the
	// latest time at which the rule has all its tokens. Redis counts from a moment between request
	// and answer. So callers wait from the answer, but the denial ends as if Redis had counted from
	// the request.
	askAt, retryAt, resetAt time.Duration
}

// askedFlag is set in latencyFlags after a caller has asked Redis again.
const askedFlag = 1 << 31

// latency returns how long the answer took.
func (e *deniedKey) latency() time.Duration { return micros(int64(e.latencyFlags.Load() &^ askedFlag)) }

// claim reports whether this caller is the one that asks Redis again.
func (e *deniedKey) claim() bool {
	late := e.latencyFlags.Load()
	return late&askedFlag == 0 && e.latencyFlags.CompareAndSwap(late, late|askedFlag)
}

func newDeniedKeys(clock *clock.Coarse, c *counters) *deniedKeys {
	return &deniedKeys{seed: maphash.MakeSeed(), clock: clock, counters: c}
}

func (d *deniedKeys) hash(key string) uint32 { return uint32(maphash.String(d.seed, key)) }

func (d *deniedKeys) shard(hash uint32) *deniedShard { return &d.shards[hash%deniedShards] }

// find returns the entry that denies a key for a cost of n, and the time.
func (d *deniedKeys) find(p *plan, key string, n int64) (*deniedKey, time.Duration) {
	hash := d.hash(key)
	t := d.shard(hash).table.Load()
	e, at := t.find(hash, p, key)
	if e == nil || n < int64(e.cost) {
		return nil, 0
	}

	now := d.clock.Now()
	if e.retryAt-now < exactBelow {
		now = d.clock.Exact()
	}

	if !e.denies(now) {
		return nil, 0
	}

	d.countHit(t, e, at)
	return e, now
}

// countHit counts one denial. There are several counters, so that callers of one key do not share
// one. Stats adds them up.
func (d *deniedKeys) countHit(t *deniedTable, e *deniedKey, at uint32) {
	n := t.counter(stripe.Of(stripes), at)
	n.Add(1)
	if t.slots[at].Load() == e {
		return
	}

	// The entry was removed from the table in the meantime. Unless the remover counted this hit
	// already, it is counted here.
	for left := n.Load(); left > 0; left = n.Load() {
		if n.CompareAndSwap(left, left-1) {
			d.count(e, 1)
			return
		}
	}
}

// denies reports whether the entry denies its key at a time. After askAt, exactly one caller gets
// false and asks Redis.
func (e *deniedKey) denies(now time.Duration) bool {
	return now < e.retryAt-e.latency() && (now < e.askAt || now < e.askAt+askGrace && !e.claim())
}

// result returns the answer for a caller at a time.
func (e *deniedKey) result(now time.Duration) Result {
	now = max(now, e.askAt-askAfter+e.latency()) // the last tick may be from before the answer
	result := Result{Rule: e.rule.Name, Limit: e.rule.Limit, Remaining: int64(e.remaining),
		RetryAfter: e.retryAt - now, ResetAfter: e.resetAt - now}
	if e.cost == e.remaining+1 {
		result.NextAfter = result.RetryAfter
	}
	return result
}

// add stores a refusal. The request was sent at sent, and the answer arrived at answered.
func (d *deniedKeys) add(p *plan, key string, n int64, sent, answered time.Duration, result Result) {
	e := &deniedKey{
		hash: d.hash(key), rule: p.named(result.Rule), key: key, cost: int32(n), remaining: int32(result.Remaining),
		askAt: sent + askAfter, retryAt: answered + result.RetryAfter, resetAt: answered + result.ResetAfter,
	}

	e.latencyFlags.Store(uint32(min(ceilDiv(int64(answered-sent), 1000), askedFlag-1)))
	s := d.shard(e.hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table.Load()
	if before, at := t.find(e.hash, p, key); before != nil {
		if int64(before.cost) < n && before.retryAt > sent && before.askAt > sent {
			return // the existing entry covers more
		}
		d.swap(t, at, e)
		return
	}

	if t == nil || 2*t.used == len(t.slots) {
		if t = d.tableWithRoom(s, sent); t == nil {
			return
		}
	}

	t.put(e)
}

// tableWithRoom replaces the shard's table by one with room, without entries that are too old. It
// returns nil if there would be no room.
func (d *deniedKeys) tableWithRoom(s *deniedShard, now time.Duration) *deniedTable {
	if now < s.full {
		return nil
	}

	before, live := s.table.Load(), 0
	for _, e := range before.all {
		if now < e.askAt+askGrace {
			live++
		}
	}

	if live > deniedPerShard*7/8 {
		// examining all entries for each new key would cost more than asking Redis
		s.full = now + askGrace
		return nil
	}

	slots := 16
	for slots < min(4*live, 2*deniedPerShard) {
		slots *= 2
	}

	t := newDeniedTable(slots)
	for _, e := range before.all {
		if now < e.askAt+askGrace {
			t.put(e)
		}
	}

	s.table.Store(t)
	for at := range before.all { // other callers still read the old table: take their hits out too
		d.swap(before, at, removed)
	}

	return t
}

// admitted removes an entry that Redis just contradicted, by admitting at least the refused cost.
func (d *deniedKeys) admitted(p *plan, key string, n int64) {
	hash := d.hash(key)
	s := d.shard(hash)
	if e, _ := s.table.Load().find(hash, p, key); e == nil || n < int64(e.cost) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table.Load()
	if e, at := t.find(hash, p, key); e != nil && n >= int64(e.cost) {
		d.swap(t, at, removed)
	}
}

// swap replaces an entry. The caller holds the mutex.
func (d *deniedKeys) swap(t *deniedTable, at uint32, other *deniedKey) {
	e := t.slots[at].Swap(other)
	d.count(e, t.collect(at))
}

// forget drops a key in all plans.
func (d *deniedKeys) forget(key string) {
	hash := d.hash(key)
	s := d.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table.Load()
	for at, e := range t.all {
		if e.hash == hash && e.key == key {
			d.swap(t, at, removed)
		}
	}
}

// moveHits moves the hits of the tables to the counters.
func (d *deniedKeys) moveHits() {
	for i := range d.shards {
		s := &d.shards[i]
		s.mu.Lock()
		t := s.table.Load()
		for at, e := range t.all {
			d.count(e, t.collect(at))
		}
		s.mu.Unlock()
	}
}

func (d *deniedKeys) count(e *deniedKey, n int64) {
	if n == 0 {
		return
	}
	e.rule.refused.Add(n)
	d.counters.refusedLocally.Add(n)
	d.counters.top.add(e.key, n)
}

// deniedTable is a hash table that is read without a mutex: open addressing, linear probing, at
// most half full. A nil table is empty.
type deniedTable struct {
	slots []atomic.Pointer[deniedKey]
	used  int // slots that are not nil
	// hits that are not in the counters yet: for each slot, one stripe after the other
	hits []atomic.Int32
}

const stripes = 8

// removed marks the slot of a removed entry: other entries may follow it.
var removed = &deniedKey{}

// newDeniedTable has at least 16 slots, so that stripes share no cache line.
func newDeniedTable(slots int) *deniedTable {
	return &deniedTable{slots: make([]atomic.Pointer[deniedKey], slots), hits: make([]atomic.Int32, stripes*slots)}
}

// find returns an entry and its slot.
func (t *deniedTable) find(hash uint32, p *plan, key string) (*deniedKey, uint32) {
	if t == nil {
		return nil, 0
	}
	mask := uint32(len(t.slots) - 1)
	for i := hash / deniedShards; ; i++ {
		e := t.slots[i&mask].Load()
		if e == nil || e.hash == hash && p.has(e.rule) && e.key == key {
			return e, i & mask
		}
	}
}

// put adds an entry of a key that the table does not have. The table has room.
func (t *deniedTable) put(e *deniedKey) {
	mask := uint32(len(t.slots) - 1)
	for i := e.hash / deniedShards; ; i++ {
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

func (t *deniedTable) counter(stripe int, at uint32) *atomic.Int32 {
	return &t.hits[stripe*len(t.slots)+int(at)]
}

// collect takes the hits of a slot.
func (t *deniedTable) collect(at uint32) (n int64) {
	for i := range stripes {
		if c := t.counter(i, at); c.Load() != 0 {
			n += int64(c.Swap(0))
		}
	}
	return n
}

// all yields the entries and their slots.
func (t *deniedTable) all(yield func(uint32, *deniedKey) bool) {
	if t == nil {
		return
	}
	for i := range t.slots {
		if e := t.slots[i].Load(); e != nil && e != removed && !yield(uint32(i), e) {
			return
		}
	}
}
