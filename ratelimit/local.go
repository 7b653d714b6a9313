package ratelimit

import (
	"hash/maphash"
	"math"
	"sync"
	"time"
)

// local enforces a share of the limits in this process alone, while Redis does not answer.
//
// The number of keys is bounded. If room is needed, keys that are as good as unused are dropped.
// Other keys are never dropped: otherwise, a client that can push a key out could reset its count.
// New keys without room share one count per plan.
type local struct {
	share    float64
	perShard int // keys per shard
	seed     maphash.Seed
	shards   [localShards]localShard
	overflow localShard // by plan; the key is ""
}

const (
	localShards = 16
	localProbes = 16 // how many keys are examined to find one to replace
)

// localKey is a key in one plan.
type localKey struct {
	plan *plan
	key  string
}

type localShard struct {
	mu   sync.Mutex
	keys map[localKey]*localState
}

// localState is what one key has used, by rule.
type localState struct {
	steady []leakyBucket
	sums   []sums
}

func newLocal(share float64, keys int) *local {
	return &local{share: share, perShard: max(1, keys/localShards), seed: maphash.MakeSeed()}
}

func (o *local) allow(p *plan, key string, n int64, now time.Duration) Result {
	return o.use(p, key, now, func(s *localState) Result { return s.take(p, n, now) })
}

func (o *local) peek(p *plan, key string, now time.Duration) Result {
	return o.use(p, key, now, func(s *localState) Result { return s.look(p, 1, now) })
}

func (o *local) use(p *plan, key string, now time.Duration, do func(*localState) Result) Result {
	s := &o.shards[maphash.String(o.seed, key)%localShards]
	if result, ok := s.use(o, localKey{p, key}, o.perShard, now, do); ok {
		return result
	}
	result, _ := o.overflow.use(o, localKey{p, ""}, math.MaxInt, now, do)
	return result
}

func (s *localShard) use(o *local, k localKey, room int, now time.Duration, do func(*localState) Result) (Result, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := s.keys[k]
	if state == nil {
		if len(s.keys) >= room && !s.drop(now) {
			return Result{}, false
		}
		if s.keys == nil {
			s.keys = make(map[localKey]*localState)
		}
		state = newLocalState(k.plan, o.share)
		s.keys[k] = state
	}

	return do(state), true
}

// drop removes a key that is as good as unused, if it finds one.
func (s *localShard) drop(now time.Duration) bool {
	looked, dropped := 0, false
	for k, state := range s.keys {
		if state.unused(now) {
			delete(s.keys, k)
			dropped = true
		}
		if looked++; looked == localProbes {
			break
		}
	}
	return dropped
}

func (o *local) forget(key string) {
	s := &o.shards[maphash.String(o.seed, key)%localShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.keys {
		if k.key == key {
			delete(s.keys, k)
		}
	}
}

func newLocalState(p *plan, share float64) *localState {
	s := &localState{}
	for i := range p.rules {
		if p.algorithm == &algorithms[GCRA] {
			s.steady = append(s.steady, newSteady(&p.rules[i], share))
		} else {
			s.sums = append(s.sums, newSums(&p.rules[i], share))
		}
	}
	return s
}

// take charges all rules or none. A cost above a rule's share, but not above its limit, takes the
// whole share: it would never fit, and an outage must not refuse it.
func (s *localState) take(p *plan, n int64, now time.Duration) Result {
	result := s.look(p, n, now)
	if !result.Allowed {
		return result
	}
	for i := range s.steady {
		s.steady[i].take(n, now)
	}
	for i := range s.sums {
		s.sums[i].take(n, now)
	}
	return s.look(p, 0, now)
}

func (s *localState) look(p *plan, n int64, now time.Duration) Result {
	var result Result
	for i := range p.rules {
		var one Result
		if s.steady != nil {
			one = s.steady[i].look(n, now)
		} else {
			one = s.sums[i].look(n, now)
		}
		if i > 0 && (one.RetryAfter < result.RetryAfter || one.RetryAfter == result.RetryAfter &&
			one.Remaining >= result.Remaining) {
			continue
		}
		result, result.Rule = one, p.rules[i].Name
	}

	return result
}

func (s *localState) unused(now time.Duration) bool {
	for i := range s.steady {
		if s.steady[i].level(now) > 0 {
			return false
		}
	}
	for i := range s.sums {
		if s.sums[i].total(now) > 0 {
			return false
		}
	}
	return true
}

// leakyBucket is GCRA as a leaky bucket.
type leakyBucket struct {
	burst  int64
	limit  int64
	rate   float64 // tokens per ns
	filled float64
	at     time.Duration
}

func newSteady(r *rule, share float64) leakyBucket {
	return leakyBucket{
		burst: max(1, int64(share*float64(r.burst()))),
		limit: max(1, int64(share*float64(r.Limit))),
		rate:  share * float64(r.Limit) / float64(r.Window),
	}
}

func (b *leakyBucket) level(now time.Duration) float64 {
	return max(0, b.filled-float64(max(0, now-b.at))*b.rate)
}

// after returns how long it takes until tokens have drained.
func (b *leakyBucket) after(tokens float64) time.Duration {
	if tokens <= 0 {
		return 0
	}
	return max(1, time.Duration(math.Ceil(tokens/b.rate)))
}

func (b *leakyBucket) look(n int64, now time.Duration) Result {
	level, burst := b.level(now), float64(b.burst)
	left := math.Floor(burst - level)
	result := Result{Limit: b.limit, Remaining: int64(left),
		RetryAfter: b.after(level + min(float64(n), burst) - burst), ResetAfter: b.after(level), Degraded: true}
	result.Allowed = result.RetryAfter == 0
	if level > 0 {
		result.NextAfter = b.after(level + left + 1 - burst)
	}
	return result
}

func (b *leakyBucket) take(n int64, now time.Duration) {
	b.filled, b.at = b.level(now)+float64(min(n, b.burst)), max(b.at, now)
}

// sums counts in eighths of the window. The nine eighths that a window can touch hold at most the
// limit together, so every window does. The bound is exact from above. The price is that a refusal
// can last an eighth of a window too long.
type sums struct {
	limit  int64
	eighth time.Duration
	counts [9]int64
	at     int64 // index of the eighth in counts[at%9]
}

func newSums(r *rule, share float64) sums {
	limit := share * float64(r.Limit)
	window := float64(r.Window)
	if limit < 1 { // one token in a longer time
		window, limit = window/limit, 1
	}
	return sums{limit: int64(limit), eighth: max(1, time.Duration(math.Ceil(window/8)))}
}

// turn clears the eighths that have passed.
func (s *sums) turn(now time.Duration) {
	at := int64(now / s.eighth)
	for ; s.at < at && at-s.at <= int64(len(s.counts)); s.at++ {
		s.counts[(s.at+1)%int64(len(s.counts))] = 0
	}
	if s.at < at {
		s.counts, s.at = [9]int64{}, at
	}
}

func (s *sums) total(now time.Duration) (sum int64) {
	s.turn(now)
	for _, n := range s.counts {
		sum += n
	}
	return sum
}

func (s *sums) look(n int64, now time.Duration) Result {
	sum := s.total(now)
	result := Result{Allowed: true, Limit: s.limit, Remaining: s.limit - sum, Degraded: true}
	over := sum + min(n, s.limit) - s.limit
	for i := int64(1); i <= int64(len(s.counts)); i++ { // from the oldest
		count := s.counts[(s.at+i)%int64(len(s.counts))]
		if count == 0 {
			continue
		}
		leaves := time.Duration(s.at+i)*s.eighth - now
		if result.ResetAfter = leaves; result.NextAfter == 0 {
			result.NextAfter = max(1, leaves)
		}
		if over > 0 {
			if over -= count; over <= 0 {
				result.RetryAfter, result.Allowed = max(1, leaves), false
			}
		}
	}

	return result
}

func (s *sums) take(n int64, now time.Duration) {
	s.turn(now)
	s.counts[s.at%int64(len(s.counts))] += min(n, s.limit)
}
