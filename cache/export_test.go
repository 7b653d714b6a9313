package cache

import (
	"time"

	"github.com/redstart-go/redstart/internal/failpoint"
)

// Waiting returns the number of callers that wait for the in-flight load of key.
func (c *Cache[V]) Waiting(key string) int { return c.flights.Waiters(key) }

// Points returns the failpoints of the cache:
//
//	join       a call is about to join the in-flight loads of its keys; key is the first
//	ask        a load is about to request the leases of its keys; key is the first that has none
//	lease      a load is about to request its lease; key is the first of a batch
//	leased     it has the answer
//	filled     the server has answered a fill; the callers don't have the value yet
//	reserve    a read or a fill is about to make its reservation in the near cache
//	commit     it has the reply, and is about to store it in the near cache
//	scanned    a step of a SCAN of DeletePrefix is done; key is the prefix
//	drop       generations are about to be deleted on the server; key is the kind of the first
//	pend       an invalidation has failed, and is about to become pending
//	replay     pending invalidations are about to be listed and replayed
//	replayed   a part of them was replayed, and is about to be confirmed
//	optimistic if it fails, a call takes its key for missing
//	touch      the time after which a generation in use is read again
func (c *Cache[V]) Points() *failpoint.Points { return &c.points }

// MaxPending and MaxPendingPrefixes bound the pending invalidations.
const (
	MaxPending         = maxPending
	MaxPendingPrefixes = maxPendingPrefixes
)

// PartBytes bounds the parts of a batch.
const PartBytes = partBytes

// Sources returns the scripts as the server gets them.
func Sources() map[string]string {
	return map[string]string{"fill": fillSource, "free": freeSource, "set": setSource, "hold": holdSource,
		"expire": expireSource, "generation": generationSource}
}

// RefreshClock sets the clock that holds back failed refreshes. Call it before the cache is used.
func (c *Cache[V]) RefreshClock(now func() time.Duration) { c.backoff.now = now }

// Refreshing returns the number of callers that wait for a refresh of key.
func (c *Cache[V]) Refreshing(key string) int { return c.refreshes.Waiters(key) }

// Optimistic reports whether the next lease request is optimistic.
func (c *Cache[V]) Optimistic() bool { return c.absence.expected() }

// QueuedReleases returns the number of leases that wait for their release.
func (c *Cache[V]) QueuedReleases() int {
	c.releases.mu.Lock()
	defer c.releases.mu.Unlock()
	return len(c.releases.queue)
}

// Leftovers counts state that exists only while something is running.
func (c *Cache[V]) Leftovers() map[string]int {
	left := make(map[string]int)
	if c.near != nil {
		for i := range c.near.shards {
			s := &c.near.shards[i]
			s.mu.Lock()
			left["near reservations"] += len(s.reserved)
			s.mu.Unlock()
		}
	}
	c.waiters.mu.Lock()
	left["waiters"] = len(c.waiters.byKey)
	c.waiters.mu.Unlock()
	c.generations.mu.Lock()
	left["generations being read"] = len(c.generations.reading)
	c.generations.mu.Unlock()
	c.backoff.mu.Lock()
	left["failed refreshes"] = len(c.backoff.keys)
	c.backoff.mu.Unlock()
	return left
}
