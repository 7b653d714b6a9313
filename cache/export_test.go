package cache

import (
	"time"

	"github.com/redstart-go/redstart/internal/failpoint"
)

// Waiting is how many callers wait for a flight of key.
func (c *Cache[V]) Waiting(key string) int { return c.flights.Waiters(key) }

// Points of a cache:
//
//	ask       a load is about to ask for the leases of its keys; key is the first that has none
//	lease     a load is about to ask for its lease; key is the first of a batch
//	leased    it has the answer
//	filled    the server has answered what a load stored; its callers don't have the value yet
//	reserve   a read or a fill is about to take its near reservation: what it had to check before is done
//	commit    it has its reply, and is about to store it near
//	scanned   a step of a SCAN of DeletePrefix is done; key is the prefix
//	drop      records are about to be deleted on the server; key is the kind of the first
//	pend      an invalidation has failed, and is about to be remembered
//	replay    what is pending is about to be listed and repeated
//	replayed  a part of it was repeated, and is about to be forgotten
//	guess     a call takes its key for absent, whatever it finds, if this fails
//	touch     how long a record that is used may look unused
func (c *Cache[V]) Points() *failpoint.Points { return &c.points }

// MaxPending is how many failed invalidations are remembered one by one, and MaxPendingPrefixes how many of those are of prefixes.
const (
	MaxPending         = maxPending
	MaxPendingPrefixes = maxPendingPrefixes
)

// PartBytes bounds the parts of a batch.
const PartBytes = partBytes

// Sources are the scripts as the server gets them.
func Sources() map[string]string {
	return map[string]string{"fill": fillSource, "free": freeSource, "set": setSource, "hold": holdSource, "expire": expireSource, "generation": generationSource}
}

// RefreshClock gives the time by which failed refreshes are held back. Call it before the cache is used.
func (c *Cache[V]) RefreshClock(now func() time.Duration) { c.backoff.now = now }

// Refreshing is how many wait for a refresh of key.
func (c *Cache[V]) Refreshing(key string) int { return c.refreshes.Waiters(key) }

// Guesses reports whether the next call takes its key for absent.
func (c *Cache[V]) Guesses() bool { return c.absence.expected() }

// Leftovers counts what is remembered only while something is under way.
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
	left["records being read"] = len(c.generations.reading)
	c.generations.mu.Unlock()
	c.backoff.mu.Lock()
	left["failed refreshes"] = len(c.backoff.keys)
	c.backoff.mu.Unlock()
	return left
}
