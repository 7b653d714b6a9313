package cache

import (
	"slices"
	"sync"
	"sync/atomic"
)

// siblings are the Caches of one name and client. Each replays its own pending invalidations. None of them reads what an
// invalidation of any of them is pending for, since all of them are this process (C1).
type siblings struct {
	pending atomic.Int64 // of all
	// failed numbers the invalidations that failed. A call that the server confirms ends those which had failed before it began, and
	// not those which failed while it ran:
	//
	//	Set     number 0 ── sent ── confirmed ────────────────── ends what failed up to 0
	//	Delete                         failed: number 1, pending
	failed atomic.Uint64
	mu     sync.Mutex
	left   failures // of a sibling that was the last to close
	all    atomic.Pointer[[]sibling]
}

// sibling is one of them, for any type of value.
type sibling interface {
	pendingOnes() *pending
	forgetPrefix(prefix string)
	remember(f failures)
}

func (s *store) pendingOnes() *pending { return &s.pending }

// join makes c one of the siblings.
func (c *Cache[V]) join() {
	all := c.core.Shared(c.space.Prefix(), func() any { return &siblings{} }).(*siblings)
	all.mu.Lock()
	defer all.mu.Unlock()
	list := append(slices.Clone(all.list()), sibling(c))
	all.all.Store(&list)
	c.pending.siblings = all
	if all.left.count() > 0 {
		c.remember(all.left)
		all.left = failures{}
	}
}

func (s *siblings) list() []sibling {
	if all := s.all.Load(); all != nil {
		return *all
	}
	return nil
}

// pends reports whether what the server holds under key may be what this process failed to invalidate.
func (s *store) pends(key string) bool {
	all := s.pending.siblings
	return all.pending.Load() > 0 && slices.ContainsFunc(all.list(), func(one sibling) bool { return one.pendingOnes().hasKey(key) })
}

// pendsRef reports whether this process failed to invalidate a tag, the epoch or the whole cache.
func (s *store) pendsRef(r ref) bool {
	all := s.pending.siblings
	return all.pending.Load() > 0 && slices.ContainsFunc(all.list(), func(one sibling) bool { return one.pendingOnes().hasRef(r) })
}

// lastFailed is the number of the last invalidation that failed: see siblings.
func (s *store) lastFailed() uint64 { return s.pending.siblings.failed.Load() }

// confirmed ends the pending invalidations of all siblings that had failed up to number, and that a later call has confirmed.
func (s *store) confirmed(number uint64, f failures) {
	all := s.pending.siblings
	if all.pending.Load() == 0 {
		return
	}
	for _, one := range all.list() {
		if slices.Contains(f.refs, clearRef) {
			one.pendingOnes().confirmAll(number)
		} else {
			one.pendingOnes().confirm(number, f)
		}
	}
}
