package cache

import (
	"context"
	"time"
)

// The sweep removes near-cached entries that can't be served again: those past their TTL, and those
// of an invalidated generation. One goroutine sweeps while there are entries, and ends when there
// are none.

const (
	// A sweep rests for sweepRest after each sweepStep entries.
	sweepStep = 1024
	sweepRest = time.Millisecond
)

// sweeper holds what a sweep needs.
type sweeper struct {
	pause time.Duration
	now   func() time.Duration
	begin func(sweep func(context.Context)) bool // starts a goroutine of the cache; false after Close
}

// sweeper returns a sweeper that sweeps four times in Near.TTL: at least every 10 s, at most every
// 10 ms.
func (s *store) sweeper() sweeper {
	name := "sweep of the near cache of cache " + s.name
	return sweeper{
		pause: min(max(s.opt.Near.TTL/4, 10*time.Millisecond), 10*time.Second),
		now:   s.core.Clock().Exact, // Now would keep an idle clock running
		begin: func(sweep func(context.Context)) bool { return s.life.group.Go(name, sweep) },
	}
}

// watch starts the sweep, unless it runs. It is called after an entry was stored:
//
//	watch     entry stored ── sweeping? yes
//	sweep                                    no entry? ── sweeping = no ── an entry: continues
func (n *nearCache[V]) watch() {
	if n.sweeping.Load() || !n.sweeping.CompareAndSwap(false, true) {
		return
	}
	if !n.sweeper.begin(n.sweepWhileUsed) {
		n.sweeping.Store(false)
	}
}

func (n *nearCache[V]) sweepWhileUsed(ctx context.Context) {
	timer := time.NewTimer(n.sweeper.pause)
	defer timer.Stop()
	rest := func(d time.Duration) bool {
		timer.Reset(d)
		select {
		case <-timer.C:
			return true
		case <-ctx.Done():
			return false
		}
	}
	for rest(n.sweeper.pause) {
		if !n.sweep(func() bool { return rest(sweepRest) }) {
			break
		}
		if n.entries.EstimatedSize() > 0 {
			continue
		}
		n.sweeping.Store(false)
		if n.entries.EstimatedSize() == 0 || !n.sweeping.CompareAndSwap(false, true) {
			return
		}
	}
	n.sweeping.Store(false)
}

// sweep removes the entries that can't be served again, in steps. It reports false if rest does.
func (n *nearCache[V]) sweep(rest func() bool) bool {
	looked, now := 0, n.sweeper.now()
	for key, e := range n.entries.All() {
		if n.over(e, now) {
			n.remove(key, e)
		}
		if looked++; looked%sweepStep == 0 {
			if !rest() {
				return false
			}
			now = n.sweeper.now()
		}
	}
	return true
}

// over reports whether an entry can't be served again.
func (n *nearCache[V]) over(e *nearEntry[V], now time.Duration) bool {
	if e.expires <= now || e.clear.dead.Load() {
		return true
	}
	for _, tag := range e.tags {
		if tag.dead.Load() {
			return true
		}
	}
	return false
}

// remove removes an entry, unless another one has replaced it. Reads that are running may still
// store theirs.
func (n *nearCache[V]) remove(key string, e *nearEntry[V]) {
	s := n.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if now, ok := n.entries.GetEntryQuietly(key); ok && now.Value == e {
		n.entries.Invalidate(key)
	}
}
