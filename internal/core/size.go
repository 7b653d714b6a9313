package core

import (
	"hash/maphash"
	"sync/atomic"
)

// largeReply is the length of a reply from which the reads of its key use a connection for long
// replies. On the shared connection, a reply of 1 MiB would delay the short replies behind it.
const largeReply = 32 << 10

// largeKeys remembers the keys of long values, in a table of fixed size. A key that was overwritten
// is learned again from its next reply.
type largeKeys struct {
	seed maphash.Seed
	any  atomic.Bool
	sums [4096]atomic.Uint32
}

// sum returns the hash of the key of a read. It is 0 for other requests.
func (t *largeKeys) sum(r *request) uint64 {
	if !r.readOnly || r.key == "" {
		return 0
	}
	return maphash.String(t.seed, r.key)
}

func (t *largeKeys) has(sum uint64) bool {
	return sum != 0 && t.sums[sum>>1%uint64(len(t.sums))].Load() == uint32(sum>>32)|1
}

// kindFor returns the kind of connection for a request.
func (c *Core) kindFor(k kind, r *request) kind {
	if k.pooled() || !c.large.any.Load() {
		return k
	}
	if c.large.has(c.large.sum(r)) {
		return k + large
	}
	return k
}

// kindForAll returns the kind of connection for a pipeline. Writes stay on the shared connection,
// in order (A3).
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

// sized learns the size of a value from its reply.
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
