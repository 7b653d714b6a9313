package core

import (
	"hash/maphash"
	"sync/atomic"
)

// largeReply is how long a reply is whose key is read on a connection for long replies from then on. On the shared
// connection, one of 1 MiB would hold up the small ones behind it.
const largeReply = 32 << 10

// largeKeys remembers keys whose values are long, in a table of fixed size: a key that is forgotten is learned again.
type largeKeys struct {
	seed maphash.Seed
	any  atomic.Bool
	sums [4096]atomic.Uint32
}

// sum identifies the key of a read, or is 0 for other requests.
func (t *largeKeys) sum(r *request) uint64 {
	if !r.readOnly || r.key == "" {
		return 0
	}
	return maphash.String(t.seed, r.key)
}

func (t *largeKeys) has(sum uint64) bool {
	return sum != 0 && t.sums[sum>>1%uint64(len(t.sums))].Load() == uint32(sum>>32)|1
}

// kindFor is the kind of connection that a request takes.
func (c *Core) kindFor(k kind, r *request) kind {
	if k.pooled() || !c.large.any.Load() {
		return k
	}
	if c.large.has(c.large.sum(r)) {
		return k + large
	}
	return k
}

// kindForAll is the kind of connection that a pipeline takes. Writes keep their order on the shared one (A3).
func (c *Core) kindForAll(k kind, reqs []request) kind {
	if !c.large.any.Load() {
		return k
	}
	chosen := k
	for i := range reqs {
		if !reqs[i].readOnly {
			return k
		}
		chosen = max(chosen, c.kindFor(k, &reqs[i]))
	}
	return chosen
}

// sized learns from a reply.
func (c *Core) sized(k kind, r *request, reply *Reply) {
	isLarge := reply.Size() >= largeReply
	if isLarge == k.pooled() {
		return
	}
	sum := c.large.sum(r)
	if sum == 0 {
		return
	}
	at := &c.large.sums[sum>>1%uint64(len(c.large.sums))]
	switch {
	case isLarge:
		at.Store(uint32(sum>>32) | 1)
		c.large.any.Store(true)
	case c.large.has(sum):
		at.Store(0)
	}
}
