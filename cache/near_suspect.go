package cache

import (
	"errors"
	"time"

	"github.com/redstart-go/redstart/internal/fault"
)

// A near entry is current while the server pushes the changes of its key to us. Losing a tracking connection makes all near entries
// suspect. Values that are loaded while the server can't be reached are suspect from the beginning.
//
//	current  ── connection lost ──> suspect
//	suspect  ── the server answers ──> replaced by the answer
//	suspect  ── the server can't be reached ──> served, not past its TTL and Near.TTL
//	either   ── invalidated here ──> gone
//
// Each call for a suspect entry asks the server first. So an invalidation whose push was lost with the connection ends the entry with
// the first answer (C1).

// offlineTTL bounds how long a value is kept that was loaded while the server could not be reached. The server pushes none of its
// changes.
const offlineTTL = 2 * time.Second

// unreachable reports that a server could not be asked, or did not answer.
func unreachable(err error) bool {
	return errors.Is(err, fault.ErrUnavailable) || errors.Is(err, fault.ErrIndeterminate)
}

// takeSuspect serves a near entry while the server can't be reached to confirm it (C4). With staleFor, it also serves one that is past
// its TTL for less than that, while the source is left alone after a failure.
func (c *Cache[V]) takeSuspect(key string, failed error, staleFor time.Duration) (v V, from Source, ok bool, err error) {
	if c.near == nil || !unreachable(failed) {
		return v, from, false, nil
	}
	now := c.core.Clock().Now()
	e := c.near.last(key, now)
	switch {
	case e == nil:
		return v, from, false, nil
	case now < e.soft:
		v, ok, err = c.takeNear(key, e)
		return v, FromNear, ok, err
	case staleFor > 0 && c.heldBack(key):
		v, ok = c.takeStale(key, staleFor)
		return v, FromStale, ok, nil
	}
	return v, from, false, nil
}

// takeStale serves a near entry when the source has failed and the server can't be reached.
func (c *Cache[V]) takeStale(key string, staleFor time.Duration) (v V, ok bool) {
	if c.near == nil {
		return v, false
	}
	now := c.core.Clock().Now()
	e := c.near.last(key, now)
	if e == nil || e.negative || now >= e.soft+staleFor {
		return v, false
	}
	if v, ok = c.private(e.value, e.encoded); ok {
		c.count.add(cStale, 1)
	}
	return v, ok
}

// reserveOffline reserves the near entries of items that are loaded without the server. It returns the record that ends with the
// next invalidation, whatever its tags: nothing is known of the generations.
func (j *job[V]) reserveOffline(items []*item[V]) *record {
	c := j.cache
	offline := c.generations.offline.Load()
	if c.nearby() {
		for _, item := range items {
			if item.offline {
				item.ticket = c.near.reserve(item.key)
			}
		}
	}
	return offline
}

// keepOffline keeps a value near that was loaded without the server, so that the source gets one load per key and offlineTTL, and not
// one per call. It is served only while the server can't be reached.
func (j *job[V]) keepOffline(item *item[V], r *result[V], err error, set *settings, offline *record) {
	c := j.cache
	if item.ticket.at == nil {
		return
	}
	if c.opt.StaleFor > 0 || set.staleFor > 0 {
		c.offlineOutcome(item.key, err, r.missing)
	}
	var kept *nearEntry[V]
	if err == nil && !set.dontStore || r.missing && set.negativeTTL > 0 {
		ttl := min(offlineTTL, c.near.ttl, set.ttl)
		if r.missing {
			ttl = min(offlineTTL, c.near.ttl, set.negativeTTL)
		}
		end := c.core.Clock().Now() + ttl
		kept = &nearEntry[V]{negative: r.missing, suspect: true, clear: offline, expires: end, soft: end, early: end}
		if !c.nearValue(kept, r) {
			kept = nil
		}
	}
	c.near.commit(item.key, item.ticket, kept, answered{})
	item.ticket = ticket{}
}

// offlineOutcome notes how the source answered a load without the server: while it fails, stale entries are served without a load.
func (c *Cache[V]) offlineOutcome(key string, err error, missing bool) {
	switch {
	case err == nil || missing:
		c.backoff.succeeded(key)
	case c.near.last(key, c.core.Clock().Now()) != nil:
		c.backoff.failed(key)
	}
}

// nearValue gives an entry a value of its own. It is false if there is no copy.
func (c *Cache[V]) nearValue(e *nearEntry[V], r *result[V]) bool {
	if e.negative {
		return true
	}
	if c.sharing != shareBytes {
		own, err := c.privateSafely(r.value)
		e.value = own
		return err == nil
	}
	if r.encoded.unusable {
		return false
	}
	if !r.encoded.known {
		data, err := c.append(nil, &r.value)
		if err != nil || len(data) > c.opt.MaxValueBytes || c.survives(string(data)) != nil {
			return false
		}
		r.encoded = encoded{payload: string(data), known: true}
	}
	e.encoded = r.encoded
	return true
}
