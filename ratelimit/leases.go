package ratelimit

import (
	"context"
	"errors"
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/internal/batcher"
	"github.com/redstart-go/redstart/internal/fault"
)

// leases are the leased keys of one plan in this process.
type leases struct {
	limiter *Limiter
	batches *batcher.Batcher // nil: batches of several keys do not go together
	opt     Lease
	// A batch is of size tokens, and the next one is taken when fewer than low are left: never more than Lease.Batch are held.
	size, low int64
	seed      maphash.Seed
	count     atomic.Int64 // keys in all shards
	shards    [leaseShards]leaseShard

	mu       sync.Mutex
	sweeping bool // the sweeper runs, and the limiter knows these leases
}

const (
	leaseShards = 16
	leaseRounds = 4                    // batches that a caller waits for before it asks for itself
	leastSweep  = 5 * time.Millisecond // between two looks for leases that have ended
)

var errLine = fault.New(fault.ErrUnavailable, errors.New("the batch of a lease was not answered within the command timeout"), "retry later")

type leaseShard struct {
	mu   sync.RWMutex
	keys map[string]*lease
	heat map[string]int64 // tokens asked for in this second
	from time.Duration
}

func newLeases(l *Limiter, opt Lease) *leases {
	low := opt.Batch / 8
	return &leases{limiter: l, batches: l.newBatcher(opt.Batch - low), opt: opt, size: opt.Batch - low, low: low, seed: maphash.MakeSeed()}
}

func (ls *leases) shard(key string) (*leaseShard, *atomic.Int64) {
	at := maphash.String(ls.seed, key) % leaseShards
	return &ls.shards[at], &ls.limiter.counters.leased[at].n
}

func (s *leaseShard) find(key string) *lease {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.keys[key]
}

// allow hands out a token that is held, or waits for the next batch, or asks Redis for this caller alone. All of it takes no
// longer than the command timeout.
func (ls *leases) allow(ctx context.Context, key string, n int64) (Result, error) {
	l := ls.limiter
	s, leased := ls.shard(key)
	e := s.find(key)
	if e != nil {
		if result, left := e.hand(n, l.core.Clock().Now()); left >= 0 {
			leased.Add(1)
			if left < ls.low && left+n >= ls.low {
				ls.fetch(e, key)
			}
			return result, nil
		}
	}

	now := l.since()
	if e == nil {
		e = ls.warm(s, key, n, now)
	}
	if e == nil || n > ls.opt.Batch/2 || int64(now) < e.direct.Load() { // a lease would save nothing, or can't be had
		return l.ask(ctx, key, n, now, nil)
	}
	if e.expired(now) && e.tokens.Load() > 0 { // the key has cooled down
		ls.retire(s, e, key)
		return l.ask(ctx, key, n, now, nil)
	}
	return ls.wait(ctx, e, leased, key, n, now)
}

// wait is for a caller who found too few tokens.
func (ls *leases) wait(ctx context.Context, e *lease, leased *atomic.Int64, key string, n int64, began time.Duration) (Result, error) {
	l := ls.limiter
	due := began + l.timeout()
	for range leaseRounds {
		b := ls.fetch(e, key)
		if b == nil { // ended
			break
		}
		select {
		case <-b.done:
		case <-ctx.Done():
			return l.outage(ctx, "allow", key, n, fault.Classify(ctx.Err(), false))
		case <-l.core.Clock().At(due):
			return l.outage(ctx, "allow", key, n, errLine)
		}

		now := l.since()
		if result, left := e.hand(n, now); left >= 0 {
			leased.Add(1)
			return result, nil
		}
		if b.err != nil {
			return l.outage(ctx, "allow", key, n, b.err)
		}
		if r, now := l.refusals.find(l.plan, key, n); r != nil {
			return r.result(now), nil
		}
		if !b.result.Allowed || int64(now) < e.direct.Load() { // there may be room for this caller
			break
		}
	}
	return l.askBy(ctx, key, n, due, nil)
}

// fetch returns the batch that is under way, and asks for one if there is none; nil if the lease has ended. No caller's context is
// that of a batch: if one caller leaves, the others get their tokens.
func (ls *leases) fetch(e *lease, key string) *batch {
	mine, underWay := e.begin()
	if mine == nil {
		return underWay
	}
	if !ls.limiter.core.Group().Go("batch of a lease", func(ctx context.Context) { ls.take(ctx, e, key, mine) }) {
		mine.err = errLine
		e.settle(mine, 0, 0, 0, 0)
		close(mine.done)
	}
	return mine
}

// take charges a batch.
func (ls *leases) take(ctx context.Context, e *lease, key string, b *batch) {
	sent := ls.limiter.since()
	b.result, b.err = ls.limiter.run(ctx, ls.batches, key, ls.size, nil)
	if b.err != nil {
		b.err = fault.Foreign(b.err, true) // ctx is not the callers'
	}
	answered := ls.limiter.since()
	late := e.settle(b, ls.size, sent, answered, ls.opt.Hold)
	close(b.done)
	if late {
		ls.giveUp(ctx, surplus{key, ls.size, sent, answered})
	}
}

// warm counts what is asked for a key, and begins a lease when that is an eighth of a batch within a second.
func (ls *leases) warm(s *leaseShard, key string, n int64, now time.Duration) *lease {
	e, created := ls.warmed(s, key, n, now)
	if created {
		ls.watch()
	}
	return e
}

func (ls *leases) warmed(s *leaseShard, key string, n int64, now time.Duration) (e *lease, created bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.keys[key]; e != nil {
		return e, false
	}

	if s.heat == nil || now-s.from > time.Second {
		clear(s.heat)
		if s.heat == nil {
			s.heat = make(map[string]int64)
		}
		s.from = now
	}
	seen, known := s.heat[key]
	if !known && len(s.heat) >= 2*ls.opt.MaxKeys/leaseShards+leaseShards {
		return nil, false
	}
	s.heat[key] = seen + n
	if seen+n < max(2, ls.opt.Batch/8) || ls.count.Load() >= int64(ls.opt.MaxKeys) {
		return nil, false
	}

	ls.count.Add(1)
	delete(s.heat, key)
	if s.keys == nil {
		s.keys = make(map[string]*lease)
	}
	e = &lease{}
	e.until.Store(int64(now + ls.opt.Hold)) // an empty lease that is not used makes room too
	s.keys[key] = e
	return e, true
}

func (s *leaseShard) remove(ls *leases, key string, e *lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys[key] == e {
		delete(s.keys, key)
		ls.count.Add(-1)
	}
}

// retire ends a lease that has cooled down, and gives its tokens back in the background.
func (ls *leases) retire(s *leaseShard, e *lease, key string) {
	rest, ended := e.end(key, false)
	if !ended {
		return
	}
	s.remove(ls, key, e)
	ls.limiter.core.Group().Go("return of a lease", func(ctx context.Context) { ls.giveUp(ctx, rest) })
}

// watch starts the sweeper unless it runs.
func (ls *leases) watch() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if !ls.sweeping {
		ls.sweeping = ls.limiter.core.Group().Go("return of cold leases", ls.sweep)
		ls.limiter.holders.add(ls)
	}
}

// sweep ends leases whose Hold has passed, and ends itself when no key is leased.
func (ls *leases) sweep(ctx context.Context) {
	ticker := time.NewTicker(max(ls.opt.Hold/4, leastSweep))
	defer ticker.Stop()
	for !ls.rest() {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := ls.limiter.since()
		for _, rest := range ls.collect(func(e *lease) bool { return e.expired(now) }, false) {
			ls.giveUp(ctx, rest)
		}
	}
}

// rest reports that no key is leased, and that the sweeper may end.
func (ls *leases) rest() bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.count.Load() > 0 {
		return false
	}
	ls.sweeping = false
	ls.limiter.holders.remove(ls)
	return true
}

// collect ends the leases that which chooses.
func (ls *leases) collect(which func(*lease) bool, always bool) (all []surplus) {
	for i := range ls.shards {
		s := &ls.shards[i]
		s.mu.Lock()
		for key, e := range s.keys {
			if !which(e) {
				continue
			}
			if rest, ended := e.end(key, always); ended {
				delete(s.keys, key)
				ls.count.Add(-1)
				all = append(all, rest)
			}
		}
		s.mu.Unlock()
	}
	return all
}

// giveUp returns unused tokens of GCRA: what of the last batch has not drained in the meantime, as if it had found no tokens
// outstanding; what was left when it was taken is older, and lost. The age counts from before the batch was charged, and one more
// round trip makes up for the time until the return is executed. A window's count can't be corrected so: its tokens are lost
// until the window ends.
func (ls *leases) giveUp(ctx context.Context, rest surplus) {
	l := ls.limiter
	if l.plan.algorithm != &algorithms[GCRA] || rest.tokens <= 0 {
		return
	}
	unused := min(rest.tokens, ls.size)
	age := l.since() - rest.taken + (rest.answered - rest.taken)
	drained := 0.0
	for i := range l.plan.rules {
		r := &l.plan.rules[i]
		drained = max(drained, math.Ceil(float64(age.Microseconds()+1)*float64(r.perMicro)/float64(r.perToken)))
	}
	if left := float64(unused) - drained; left >= 1 {
		_ = l.refund(ctx, rest.key, int64(left)) // lost tokens come back by themselves
	}
}

// forget drops the tokens of a key, also those of a batch that is under way.
func (ls *leases) forget(key string) {
	s, _ := ls.shard(key)
	if e := s.find(key); e != nil {
		e.end(key, true)
		s.remove(ls, key, e)
	}
}

// close gives all tokens back while calls still work.
func (ls *leases) close(ctx context.Context) {
	for ls.count.Load() > 0 && ctx.Err() == nil {
		for _, rest := range ls.collect(func(*lease) bool { return true }, false) {
			ls.giveUp(ctx, rest)
		}
		if ls.count.Load() > 0 { // a batch is being taken
			select {
			case <-time.After(leastSweep):
			case <-ctx.Done():
			}
		}
	}
}

// holders are the leases of a limiter's plans that hold tokens.
type holders struct {
	mu  sync.Mutex
	all map[*leases]struct{}
}

func (h *holders) add(ls *leases) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all == nil {
		h.all = make(map[*leases]struct{})
	}
	h.all[ls] = struct{}{}
}

func (h *holders) remove(ls *leases) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.all, ls)
}

func (h *holders) list() []*leases {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]*leases, 0, len(h.all))
	for ls := range h.all {
		all = append(all, ls)
	}
	return all
}

func (h *holders) forget(key string) {
	for _, ls := range h.list() {
		ls.forget(key)
	}
}

func (h *holders) close(ctx context.Context) error {
	for _, ls := range h.list() {
		ls.close(ctx)
	}
	return nil
}
