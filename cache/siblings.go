package cache

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
)

// siblings are the Caches of one name and client. Each keeps, and repeats in its own way, what it owes; none of them reads what
// any of them owes, since all of them are this process (C1).
type siblings struct {
	owed atomic.Int64 // by all
	mu   sync.Mutex
	all  atomic.Pointer[[]sibling]
}

// sibling is one of them, of whatever type its values are.
type sibling interface {
	owesItself(key string) bool
	settleItself(ctx context.Context) bool
	paidItself(keys []string)
	forgetPrefix(prefix string)
}

// join makes c one of those who are there already.
func (c *Cache[V]) join() {
	family := c.core.Shared(c.space.Prefix(), func() any { return &siblings{} }).(*siblings)
	family.mu.Lock()
	defer family.mu.Unlock()
	all := append(slices.Clone(family.list()), sibling(c))
	family.all.Store(&all)
	c.replay.family = family
}

func (f *siblings) list() []sibling {
	if all := f.all.Load(); all != nil {
		return *all
	}
	return nil
}

// pends reports whether what the server holds under key may be what one of us failed to invalidate.
func (c *Cache[V]) pends(key string) bool {
	family := c.replay.family
	if family.owed.Load() == 0 {
		return false
	}
	return slices.ContainsFunc(family.list(), func(s sibling) bool { return s.owesItself(key) })
}

// paid forgets what a later call has invalidated, or replaced, with success, whoever of us owed it.
func (c *Cache[V]) paid(keys ...string) {
	if c.replay.family.owed.Load() == 0 {
		return
	}
	for _, s := range c.replay.family.list() {
		s.paidItself(keys)
	}
}
