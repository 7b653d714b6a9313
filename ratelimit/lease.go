package ratelimit

import (
	"context"
	"errors"
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/internal/convoy"
	"github.com/redstart-go/redstart/internal/fault"
)

// leases are the tokens that this process has taken in advance, by key, for one plan.
type leases struct {
	limiter *Limiter
	batches *convoy.Convoy // nil: they can't go together
	opt     Lease
	// A batch is of size tokens, and the next one is taken when fewer than low are left: never more than Lease.Batch are held.
	size, low int64
	seed      maphash.Seed
	count     atomic.Int64 // keys in all shards
	shards    [leaseShards]leaseShard
}

const leaseShards = 16

var errLine = fault.New(fault.ErrUnavailable, errors.New("another call of this process has waited for Redis as long as a command may take"), "")

type leaseShard struct {
	mu   sync.RWMutex
	keys map[string]*lease
	heat map[string]int64 // tokens asked for in this second
	from time.Duration
}

// lease is one key's. Tokens are charged before they are here, so handing one out is a subtraction.
type lease struct {
	left  atomic.Int64
	until atomic.Int64 // by since; unused tokens are given up then
	last  atomic.Pointer[Result]
	turn  chan struct{} // holds one: who has it may take a batch or give one up

	taken  time.Duration // when the last batch was asked for
	direct atomic.Int64  // until then batches are not tried: there was no room for one
}

func newLeases(l *Limiter, opt Lease) *leases {
	low := opt.Batch / 8
	ls := &leases{limiter: l, batches: l.convoy(opt.Batch - low), opt: opt, size: opt.Batch - low, low: low, seed: maphash.MakeSeed()}
	l.core.OnClose(ls.close)
	return ls
}

func (ls *leases) shard(key string) (*leaseShard, *atomic.Int64) {
	at := maphash.String(ls.seed, key) % leaseShards
	return &ls.shards[at], &ls.limiter.counters.leased[at].n
}

func (ls *leases) allow(ctx context.Context, key string, n int64) (Result, error) {
	s, leased := ls.shard(key)
	s.mu.RLock()
	e := s.keys[key]
	s.mu.RUnlock()
	if e != nil {
		if result, left := e.hand(n, ls.limiter.core.Clock().Now()); left >= 0 {
			leased.Add(1)
			if left < ls.low && left+n >= ls.low {
				ls.goAhead(e, key)
			}
			return result, nil
		}
	}
	now := ls.limiter.since()
	if e == nil {
		if e = ls.warm(s, key, n, now); e == nil {
			return ls.limiter.ask(ctx, key, n, now)
		}
	}
	if n > ls.opt.Batch/2 || int64(now) < e.direct.Load() { // a lease would save nothing, or can't be had
		return ls.limiter.ask(ctx, key, n, now)
	}
	select {
	case e.turn <- struct{}{}:
	case <-ctx.Done():
		return ls.limiter.outage(ctx, "allow", key, n, ctx.Err())
	case <-ls.limiter.core.Clock().Deadline(): // in line behind calls without an answer
		return ls.limiter.outage(ctx, "allow", key, n, errLine)
	}
	defer func() { <-e.turn }()
	now = ls.limiter.since()
	if result, left := e.hand(n, now); left >= 0 {
		leased.Add(1) // somebody took a batch meanwhile
		return result, nil
	}
	if e, now := ls.limiter.refusals.find(ls.limiter.plan, key, n); e != nil { // or was refused
		return e.result(now), nil
	}
	return ls.refill(ctx, s, e, key, n, now)
}

// hand takes n tokens out of a lease, and says how many are left, or less than 0 if it has not so many.
func (e *lease) hand(n int64, now time.Duration) (Result, int64) {
	if int64(now) >= e.until.Load() {
		return Result{}, -1
	}
	for {
		left := e.left.Load()
		if left < n {
			return Result{}, -1
		}
		if e.left.CompareAndSwap(left, left-n) {
			return *e.last.Load(), left - n
		}
	}
}

// goAhead takes the next batch while the last tokens of this one are handed out, so that nobody waits for it. If that fails, it is
// told to who asks when they are used up.
func (ls *leases) goAhead(e *lease, key string) {
	select {
	case e.turn <- struct{}{}:
	default:
		return
	}
	if !ls.limiter.core.Group().Go("next batch of a lease", func(ctx context.Context) {
		defer func() { <-e.turn }()
		_, _ = ls.take(ctx, e, key, 0)
	}) {
		<-e.turn
	}
}

// warm counts what is asked for a key, and begins a lease when that is an eighth of a batch within a second.
func (ls *leases) warm(s *leaseShard, key string, n int64, now time.Duration) *lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.keys[key]; e != nil {
		return e
	}
	if s.heat == nil || now-s.from > time.Second {
		clear(s.heat)
		if s.heat == nil {
			s.heat = make(map[string]int64)
		}
		s.from = now
	}
	seen, known := s.heat[key]
	if !known && len(s.heat) >= 2*ls.opt.Keys/leaseShards+leaseShards {
		return nil
	}
	s.heat[key] = seen + n
	if seen+n < max(2, ls.opt.Batch/8) {
		return nil
	}
	if ls.count.Load() >= int64(ls.opt.Keys) && !s.drop(ls, now) {
		return nil
	}
	ls.count.Add(1)
	delete(s.heat, key)
	if s.keys == nil {
		s.keys = make(map[string]*lease)
	}
	e := &lease{turn: make(chan struct{}, 1)}
	e.until.Store(int64(now + ls.opt.Hold)) // an empty lease that nobody uses makes room too
	s.keys[key] = e
	return e
}

// drop removes a lease that has ended, if there is one.
func (s *leaseShard) drop(ls *leases, now time.Duration) bool {
	for key, e := range s.keys {
		if int64(now) >= e.until.Load() {
			e.left.Store(0)
			s.remove(ls, key, e)
			return true
		}
	}
	return false
}

func (s *leaseShard) remove(ls *leases, key string, e *lease) {
	if s.keys[key] == e {
		delete(s.keys, key)
		ls.count.Add(-1)
	}
}

// refill takes a batch for a caller who needs n tokens of it. The caller has the turn.
func (ls *leases) refill(ctx context.Context, s *leaseShard, e *lease, key string, n int64, now time.Duration) (Result, error) {
	l := ls.limiter
	if int64(now) >= e.until.Load() {
		if unused := e.left.Swap(0); unused > 0 { // the key has cooled down
			ls.giveUp(ctx, key, unused, now-e.taken)
			s.mu.Lock()
			s.remove(ls, key, e)
			s.mu.Unlock()
			e.until.Store(0)
			return l.ask(ctx, key, n, now)
		}
	}
	result, err := ls.take(ctx, e, key, n)
	switch {
	case err != nil:
		return l.outage(ctx, "allow", key, n, err)
	case !result.Allowed: // there may be room for this one
		return l.ask(ctx, key, n, now)
	}
	l.counters.leased[0].n.Add(1) // rare
	return result, nil
}

// take charges a batch, and puts it to what is left, without the n tokens that the caller needs. The caller has the turn.
func (ls *leases) take(ctx context.Context, e *lease, key string, n int64) (Result, error) {
	now := ls.limiter.since()
	result, err := ls.limiter.run(ctx, ls.batches, key, ls.size)
	switch {
	case err != nil:
		return Result{}, err
	case !result.Allowed:
		e.direct.Store(int64(now + ls.opt.Hold/8))
		return result, nil
	}
	e.taken = now
	e.last.Store(&result)
	e.until.Store(int64(now + ls.opt.Hold))
	e.left.Add(ls.size - n)
	return result, nil
}

// giveUp returns unused tokens of GCRA: what of the last batch has not drained in the meantime, as if it had found no debt, which
// never returns too much; what was left when it was taken is older, and lost. A window's count can't be corrected so: its
// tokens are lost until the window ends.
func (ls *leases) giveUp(ctx context.Context, key string, unused int64, age time.Duration) {
	l := ls.limiter
	if l.plan.algorithm != &algorithms[GCRA] {
		return
	}
	unused = min(unused, ls.size)
	drained := 0.0
	for i := range l.plan.rules {
		r := &l.plan.rules[i]
		drained = max(drained, math.Ceil(float64(age.Microseconds()+1)*float64(r.perMicro)/float64(r.perToken)))
	}
	if left := float64(unused) - drained; left >= 1 {
		_ = l.refund(ctx, key, int64(left)) // lost tokens come back by themselves
	}
}

func (ls *leases) forget(key string) {
	s, _ := ls.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.keys[key]; e != nil {
		e.left.Store(0)
		e.until.Store(0)
		s.remove(ls, key, e)
	}
}

// close gives the tokens back while calls still work.
func (ls *leases) close(ctx context.Context) error {
	for i := range ls.shards {
		s := &ls.shards[i]
		s.mu.Lock()
		keys := s.keys
		s.keys = nil
		s.mu.Unlock()
		for key, e := range keys {
			e.until.Store(0)
			select {
			case e.turn <- struct{}{}:
				ls.giveUp(ctx, key, e.left.Swap(0), ls.limiter.since()-e.taken)
				<-e.turn
			case <-ctx.Done(): // a batch is being taken
				return nil
			}
		}
	}
	return nil
}
