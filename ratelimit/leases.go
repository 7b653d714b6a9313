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
	batches *batcher.Batcher // nil: batches of several keys are not grouped
	opt     Lease
	// size is the tokens of a batch. The next batch is requested when fewer than low tokens are
	// left. So a lease never has more than Lease.Batch tokens.
	size, low int64
	seed      maphash.Seed
	count     atomic.Int64 // keys in all shards
	shards    [leaseShards]leaseShard

	mu       sync.Mutex
	sweeping bool // the sweeper runs, and the limiter has these leases in its list
}

const (
	leaseShards   = 16
	maxBatchWaits = 4                    // batches that a caller waits for before it asks Redis
	sweepMin      = 5 * time.Millisecond // minimum time between two searches for ended leases
)

var errLine = fault.New(fault.ErrUnavailable, errors.New("the batch of a lease was not answered within the command timeout"),
	"retry later")

type leaseShard struct {
	mu     sync.RWMutex
	keys   map[string]*lease
	demand map[string]int64 // tokens requested in this second
	from   time.Duration
}

func newLeases(l *Limiter, opt Lease) *leases {
	low := opt.Batch / 8
	return &leases{limiter: l, batches: l.newBatcher(opt.Batch - low), opt: opt, size: opt.Batch - low,
		low: low, seed: maphash.MakeSeed()}
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

// allow takes a token of the lease, waits for the next batch, or asks Redis for this caller.
// Together this takes at most the command timeout.
func (ls *leases) allow(ctx context.Context, key string, n int64) (Result, error) {
	l := ls.limiter
	s, leased := ls.shard(key)
	e := s.find(key)
	if e != nil {
		if result, left := e.take(n, l.core.Clock().Now()); left >= 0 {
			leased.Add(1)
			if left < ls.low && left+n >= ls.low {
				ls.fetch(e, key)
			}
			return result, nil
		}
	}

	now := l.since()
	if e == nil {
		e = ls.countDemand(s, key, n, now)
	}

	// a lease would save nothing, or there is no room for a batch
	if e == nil || n > ls.opt.Batch/2 || int64(now) < e.noBatchUntil.Load() {
		return l.ask(ctx, key, n, now, nil)
	}

	if e.expired(now) && e.tokens.Load() > 0 { // the key is not busy any more
		ls.retire(s, e, key)
		return l.ask(ctx, key, n, now, nil)
	}

	return ls.wait(ctx, e, leased, key, n, now)
}

// wait waits for tokens, for a caller that found too few.
func (ls *leases) wait(ctx context.Context, e *lease, leased *atomic.Int64, key string, n int64,
	began time.Duration) (Result, error) {
	l := ls.limiter
	due := began + l.timeout()
	for range maxBatchWaits {
		b := ls.fetch(e, key)
		if b == nil { // the lease ended
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
		if result, left := e.take(n, now); left >= 0 {
			leased.Add(1)
			return result, nil
		}
		if b.err != nil {
			return l.outage(ctx, "allow", key, n, b.err)
		}
		if r, now := l.denied.find(l.plan, key, n); r != nil {
			return r.result(now), nil
		}
		// there may be room for this caller's tokens
		if !b.result.Allowed || int64(now) < e.noBatchUntil.Load() {
			break
		}
	}
	return l.askWithin(ctx, key, n, due, nil)
}

// fetch returns the batch in flight, and requests one if there is none. It returns nil if the lease
// has ended. A batch has its own context: if one caller leaves, the others get their tokens.
func (ls *leases) fetch(e *lease, key string) *batch {
	mine, underWay := e.begin()
	if mine == nil {
		return underWay
	}
	if !ls.limiter.core.Group().Work("batch of a lease", func(ctx context.Context) { ls.chargeBatch(ctx, e, key, mine) }) {
		mine.err = errLine
		e.applyBatch(mine, 0, 0, 0, 0)
		close(mine.done)
	}
	return mine
}

// chargeBatch charges a batch.
func (ls *leases) chargeBatch(ctx context.Context, e *lease, key string, b *batch) {
	sent := ls.limiter.since()
	b.result, b.err = ls.limiter.run(ctx, ls.batches, key, ls.size, nil)
	if b.err != nil {
		b.err = fault.Foreign(b.err, true) // ctx does not belong to a caller
	}
	answered := ls.limiter.since()
	late := e.applyBatch(b, ls.size, sent, answered, ls.opt.Hold)
	close(b.done)
	if late {
		ls.returnSurplus(ctx, surplus{key, ls.size, sent, answered})
	}
}

// countDemand counts the tokens requested for a key. It starts a lease when they reach an eighth of
// a batch within a second.
func (ls *leases) countDemand(s *leaseShard, key string, n int64, now time.Duration) *lease {
	e, created := ls.warmed(s, key, n, now)
	if created {
		ls.startSweeper()
	}
	return e
}

func (ls *leases) warmed(s *leaseShard, key string, n int64, now time.Duration) (e *lease, created bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.keys[key]; e != nil {
		return e, false
	}

	if s.demand == nil || now-s.from > time.Second {
		clear(s.demand)
		if s.demand == nil {
			s.demand = make(map[string]int64)
		}
		s.from = now
	}

	seen, known := s.demand[key]
	if !known && len(s.demand) >= 2*ls.opt.MaxKeys/leaseShards+leaseShards {
		return nil, false
	}

	s.demand[key] = seen + n
	if seen+n < max(2, ls.opt.Batch/8) || ls.count.Load() >= int64(ls.opt.MaxKeys) {
		return nil, false
	}

	ls.count.Add(1)
	delete(s.demand, key)
	if s.keys == nil {
		s.keys = make(map[string]*lease)
	}

	e = &lease{}
	e.validUntil.Store(int64(now + ls.opt.Hold)) // an empty, unused lease is removed after Hold too
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

// retire ends a lease that is not busy any more, and returns its tokens in the background.
func (ls *leases) retire(s *leaseShard, e *lease, key string) {
	rest, ended := e.end(key, false)
	if !ended {
		return
	}
	s.remove(ls, key, e)
	ls.limiter.core.Group().Work("return of a lease", func(ctx context.Context) { ls.returnSurplus(ctx, rest) })
}

// startSweeper starts the sweeper unless it runs.
func (ls *leases) startSweeper() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if !ls.sweeping {
		ls.sweeping = ls.limiter.core.Group().Go("return of cold leases", ls.sweep)
		ls.limiter.holders.add(ls)
	}
}

// sweep ends leases whose Hold has passed. It returns when no key is leased.
func (ls *leases) sweep(ctx context.Context) {
	pause := max(ls.opt.Hold/4, sweepMin)
	timer := ls.limiter.core.Time().NewTimer(pause)
	defer timer.Stop()
	for !ls.sweeperMayEnd() {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		timer.Reset(pause)
		now := ls.limiter.since()
		for _, rest := range ls.collect(func(e *lease) bool { return e.expired(now) }, false) {
			ls.returnSurplus(ctx, rest)
		}
	}
}

// sweeperMayEnd reports that no key is leased, so that the sweeper ends.
func (ls *leases) sweeperMayEnd() bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.count.Load() > 0 {
		return false
	}
	ls.sweeping = false
	ls.limiter.holders.remove(ls)
	return true
}

// collect ends the leases that which selects.
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

// returnSurplus returns unused tokens of GCRA: the part of the last batch that has not drained in
// the meantime. It assumes that the batch found no tokens outstanding. Tokens of earlier batches
// are older and are lost. The age counts from before the batch was charged. One more round trip
// covers the time until the return is executed. The count of a window algorithm cannot be corrected
// in this way: its tokens are lost until the window ends.
func (ls *leases) returnSurplus(ctx context.Context, rest surplus) {
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
		_ = l.refund(ctx, rest.key, int64(left)) // if it fails, the tokens drain with time
	}
}

// forget drops the tokens of a key, also tokens of a batch in flight.
func (ls *leases) forget(key string) {
	s, _ := ls.shard(key)
	if e := s.find(key); e != nil {
		e.end(key, true)
		s.remove(ls, key, e)
	}
}

// close returns all tokens while calls still work.
func (ls *leases) close(ctx context.Context) {
	for ls.count.Load() > 0 && ctx.Err() == nil {
		for _, rest := range ls.collect(func(*lease) bool { return true }, false) {
			ls.returnSurplus(ctx, rest)
		}
		if ls.count.Load() > 0 { // a batch is in flight
			select {
			case <-time.After(sweepMin):
			case <-ctx.Done():
			}
		}
	}
}

// heldLeases are the leases of a limiter's plans that have tokens.
type heldLeases struct {
	mu  sync.Mutex
	all map[*leases]struct{}
}

func (h *heldLeases) add(ls *leases) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all == nil {
		h.all = make(map[*leases]struct{})
	}
	h.all[ls] = struct{}{}
}

func (h *heldLeases) remove(ls *leases) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.all, ls)
}

func (h *heldLeases) list() []*leases {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]*leases, 0, len(h.all))
	for ls := range h.all {
		all = append(all, ls)
	}
	return all
}

func (h *heldLeases) forget(key string) {
	for _, ls := range h.list() {
		ls.forget(key)
	}
}

func (h *heldLeases) close(ctx context.Context) error {
	for _, ls := range h.list() {
		ls.close(ctx)
	}
	return nil
}
