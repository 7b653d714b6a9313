package cache

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/redstart-go/redstart/internal/cacheview"
)

// siblings are the Caches with the same name and client. Each replays its own pending
// invalidations. None of them reads a key, tag or prefix while an invalidation of it is pending in
// any of them (C1).
type siblings struct {
	pending atomic.Int64 // count of all siblings
	// failed numbers the failed invalidations. When the server confirms a call, the call ends the
	// invalidations that had failed before it began. It does not end those that failed while it
	// ran:
	//
	//	Set     number 0 ── sent ── confirmed ────────────────── ends failures up to 0
	//	Delete                         failed: number 1, pending
	failed atomic.Uint64
	mu     sync.Mutex
	left   failures // pending invalidations of the last sibling that closed
	all    atomic.Pointer[[]sibling]
}

// sibling is a Cache of any type of value.
type sibling interface {
	pendingOnes() *pending
	forgetPrefix(prefix string)
	remember(f failures)
	view(key string) cacheview.Local
}

func newSiblings() any { return &siblings{} }

func (s *store) pendingOnes() *pending { return &s.pending }

// join adds c to its siblings.
func (c *Cache[V]) join() {
	all := c.core.Shared(c.space.Prefix(), newSiblings).(*siblings)
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

// pends reports whether an invalidation of key is pending in this process.
func (s *store) pends(key string) bool {
	all := s.pending.siblings
	return all.pending.Load() > 0 && slices.ContainsFunc(all.list(),
		func(one sibling) bool { return one.pendingOnes().hasKey(key) })
}

// pendsRef reports whether an invalidation of a tag, of the epoch or of the whole cache is pending
// in this process.
func (s *store) pendsRef(r ref) bool {
	all := s.pending.siblings
	return all.pending.Load() > 0 && slices.ContainsFunc(all.list(),
		func(one sibling) bool { return one.pendingOnes().hasRef(r) })
}

// lastFailed returns the number of the last failed invalidation: see siblings.
func (s *store) lastFailed() uint64 { return s.pending.siblings.failed.Load() }

// confirmed ends the pending invalidations of all siblings that failed up to number and that a
// later call confirmed.
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
