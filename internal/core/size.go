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

func (t *largeKeys) at(sum uint64) *atomic.Uint32 { return &t.sums[sum>>1%uint64(len(t.sums))] }

func (t *largeKeys) has(sum uint64) bool {
	return sum != 0 && t.at(sum).Load() == uint32(sum>>32)|1
}

func (t *largeKeys) add(sum uint64) {
	t.at(sum).Store(uint32(sum>>32) | 1)
	t.any.Store(true)
}

func (t *largeKeys) remove(sum uint64) {
	if t.has(sum) {
		t.at(sum).Store(0)
	}
}

// sizeLater lets a call that its caller has left learn the sizes of its values, when the replies
// come. Without this, many callers that leave before their long replies would keep the shared
// connection full of such replies.
func (c *conn) sizeLater(k *call, reqs []request) {
	sums := make([]uint64, 0, len(reqs))
	for i := range reqs {
		if reqs[i].asking {
			sums = append(sums, 0)
		}
		sums = append(sums, c.line.core.large.sum(&reqs[i]))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k.sums = sums
}

// sizedLate learns from the next reply to a call that its caller has left. The lock is held.
func (c *conn) sizedLate(k *call, reply *Reply) {
	if len(k.sums) == 0 || reply.Size() < largeReply {
		return
	}
	if sum := k.sums[len(k.sums)-k.want]; sum != 0 {
		c.line.core.large.add(sum)
	}
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
	if isLarge {
		c.large.add(sum)
	} else {
		c.large.remove(sum)
	}
}
