package ratelimit

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// refusals remembers which keys Redis refused, so that they are refused here until their time (R4).
//
// An entry is believed for a second at most, so two generations of a second each hold all that matter, and nothing
// needs to be swept. A full generation takes no new keys: those ask Redis, which is slower but never wrong.
type refusals struct {
	seed     maphash.Seed
	shards   [refusalShards]refusalShard
	counters *counters
}

const (
	refusalShards   = 64
	refusalsPerHalf = 512 // per shard and generation: 65,536 in all

	// believed and asking together are a second: when a refusal has been believed for long enough, one caller asks Redis, and
	// the others go on being refused until its answer, but no longer than asking.
	believed = 900 * time.Millisecond
	asking   = 100 * time.Millisecond
)

type refusalShard struct {
	any      atomic.Bool // false until the first refusal
	mu       sync.RWMutex
	now, old map[refusedKey]*refusal
	turned   time.Duration
}

type refusedKey struct {
	plan *plan
	key  string
}

type refusal struct {
	cost         int64
	ask          atomic.Int64  // from then on Redis is asked again
	retry, reset time.Duration // by the same clock
	result       Result
	hits         atomic.Int64 // not yet in the counters, which all callers would meet on
	gone         atomic.Bool  // not in a map any longer: whoever hits it still, collects
	rule         *atomic.Int64
}

func newRefusals() *refusals { return &refusals{seed: maphash.MakeSeed()} }

func (r *refusals) shard(key string) *refusalShard {
	return &r.shards[maphash.String(r.seed, key)%refusalShards]
}

// find returns the refusal of a key for a cost of at least what was refused.
func (r *refusals) find(p *plan, key string, n int64, now time.Duration) (Result, bool) {
	s := r.shard(key)
	if !s.any.Load() {
		return Result{}, false
	}
	s.mu.RLock()
	e := s.now[refusedKey{p, key}]
	if e == nil {
		e = s.old[refusedKey{p, key}]
	}
	s.mu.RUnlock()
	if e == nil || n < e.cost || now >= e.retry {
		return Result{}, false
	}
	if ask := e.ask.Load(); int64(now) >= ask && e.ask.CompareAndSwap(ask, int64(now+asking)) {
		return Result{}, false
	}
	if e.hits.Add(1); e.gone.Load() {
		r.collect(key, e)
	}
	result := e.result
	result.RetryAfter = e.retry - now
	result.ResetAfter = e.reset - now
	return result, true
}

// add remembers a refusal. asked is a moment before Redis was asked.
func (r *refusals) add(p *plan, key string, n int64, asked time.Duration, result Result) {
	e := &refusal{cost: n, retry: asked + result.RetryAfter, reset: asked + result.ResetAfter, result: result, rule: p.counter(result.Rule)}
	e.ask.Store(int64(asked + believed))
	k := refusedKey{p, key}
	s := r.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if asked-s.turned > believed+asking {
		for k := range s.old {
			r.drop(s, k)
		}
		s.now, s.old = s.old, s.now
		s.turned = asked
	}
	if s.now == nil {
		s.now = make(map[refusedKey]*refusal)
		s.any.Store(true)
	}
	for _, m := range []map[refusedKey]*refusal{s.now, s.old} {
		if before := m[k]; before != nil && before.cost < n && before.retry > asked && before.ask.Load() > int64(asked) {
			return // it covers more
		}
	}
	r.drop(s, k)
	if len(s.now) < refusalsPerHalf {
		s.now[k] = e
	}
}

// admitted drops a refusal that Redis has just contradicted: by admitting at least what was refused.
func (r *refusals) admitted(p *plan, key string, n int64) {
	k := refusedKey{p, key}
	s := r.shard(key)
	s.mu.RLock()
	e := s.now[k]
	if e == nil {
		e = s.old[k]
	}
	s.mu.RUnlock()
	if e != nil && n >= e.cost {
		s.mu.Lock()
		r.drop(s, k)
		s.mu.Unlock()
	}
}

func (r *refusals) drop(s *refusalShard, k refusedKey) {
	for _, m := range []map[refusedKey]*refusal{s.now, s.old} {
		if e := m[k]; e != nil {
			e.gone.Store(true)
			r.collect(k.key, e)
			delete(m, k)
		}
	}
}

// forget drops a key in all plans.
func (r *refusals) forget(key string) {
	s := r.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range []map[refusedKey]*refusal{s.now, s.old} {
		for k := range m {
			if k.key == key {
				r.drop(s, k)
			}
		}
	}
}

// settle moves the hits that entries have counted to the counters.
func (r *refusals) settle() {
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.RLock()
		for _, m := range []map[refusedKey]*refusal{s.now, s.old} {
			for k, e := range m {
				r.collect(k.key, e)
			}
		}
		s.mu.RUnlock()
	}
}

func (r *refusals) collect(key string, e *refusal) {
	n := e.hits.Swap(0)
	if n == 0 {
		return
	}
	e.rule.Add(n)
	r.counters.refusedLocally.Add(n)
	r.counters.top.add(key, n)
}
