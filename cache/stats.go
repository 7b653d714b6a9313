package cache

import (
	"math/rand/v2"
	"sync/atomic"
)

type counter int

const (
	cHits counter = iota
	cNegativeHits
	cMisses
	cUnreadable
	cLoads
	cLoadErrors
	cLoadNanos
	cWaits
	cLeaseLost
	cTooLarge
	cErrors
	cInvalidations
	counterCount
)

// counters are striped, so that cores which count at once don't wait for one cache line.
type counters struct {
	stripes [8]struct {
		n [counterCount]atomic.Int64
		_ [64]byte
	}
}

func (c *counters) add(what counter, n int64) {
	c.stripes[rand.Uint32()%uint32(len(c.stripes))].n[what].Add(n)
}

func (c *counters) sum(what counter) (n int64) {
	for i := range c.stripes {
		n += c.stripes[i].n[what].Load()
	}
	return n
}

// Stats are the counters of one cache in this process.
type Stats struct {
	Hits         int64 // values from the server
	NegativeHits int64 // remembered ErrNotFound
	Misses       int64
}

// Stats returns what was counted so far.
func (c *Cache[V]) Stats() Stats {
	return Stats{Hits: c.count.sum(cHits), NegativeHits: c.count.sum(cNegativeHits), Misses: c.count.sum(cMisses)}
}
