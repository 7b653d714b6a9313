package cache

import (
	"errors"
	"slices"
	"time"

	"github.com/redstart-go/redstart/internal/fault"
)

// A near-cached entry is current while the server pushes the changes of its key. The loss of a
// tracking connection makes all entries suspect. Values that are loaded while the server can't be
// reached are suspect from the beginning.
//
//	current  ── connection lost ──> suspect
//	suspect  ── the server answers ──> replaced by the answer
//	suspect  ── the server can't be reached ──> served until its TTL and Near.TTL
//	either   ── invalidated by this process ──> removed
//
// Each call for a suspect entry asks the server first. If the push of an invalidation was lost with
// the connection, the first answer therefore ends the entry (C1).

// offlineTTL bounds how long the near cache keeps a value that was loaded while the server could
// not be reached. The server pushes no change of it.
const offlineTTL = 2 * time.Second

// unreachable reports whether a server could not be asked or did not answer.
func unreachable(err error) bool {
	return errors.Is(err, fault.ErrUnavailable) || errors.Is(err, fault.ErrIndeterminate)
}

// takeSuspect serves a near-cached entry while the server can't be reached (C4). With staleFor, it
// also serves an entry past its TTL, for at most staleFor, while the source is not asked after a
// failure.
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

// takeStale serves a near-cached entry when the source has failed and the server can't be reached.
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

// reserveOffline reserves near-cached entries for items that are loaded without the server. It
// returns the generation that ends with the next invalidation of anything: the current generations
// are unknown.
func (j *job[V]) reserveOffline(items []*item[V]) *generation {
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

// keepOffline stores a value in the near cache that was loaded without the server. The source then
// gets one load per key and offlineTTL, and not one per call. The entry is served only while the
// server can't be reached.
func (j *job[V]) keepOffline(item *item[V], r *result[V], err error, set *settings, offline *generation) {
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

// kept finishes the items that can't reach their server and whose value another load has kept in
// the near cache, and returns the others. That load ended after the call looked into the near
// cache, or the call asked the server first (C4).
//
//	A  ──near: none──load═══════keep─╗
//	B     └─near: none──server: down─┴─load: takes the kept value
func (j *job[V]) kept(items []*item[V]) (rest []*item[V]) {
	c := j.cache
	cutOff := func(item *item[V]) bool { return item.offline && unreachable(item.down) }
	if c.near == nil || !slices.ContainsFunc(items, cutOff) {
		return items
	}
	for _, item := range items {
		if !cutOff(item) || !c.finishKept(item) {
			rest = append(rest, item)
		}
	}
	return rest
}

// finishKept finishes an item with its near-cached entry, if there is one before its TTL.
func (c *Cache[V]) finishKept(item *item[V]) bool {
	now := c.core.Clock().Now()
	e := c.near.last(item.key, now)
	if e == nil || now >= e.soft {
		return false
	}
	r := result[V]{missing: e.negative, encoded: e.encoded, sharers: sharers{offlineCalls, time.Now()}}
	if e.negative {
		item.finish(r, ErrNotFound)
		return true
	}
	var ok bool
	if r.value, ok = c.private(e.value, e.encoded); ok {
		item.finish(r, nil)
	}
	return ok
}

// offlineOutcome records the source's answer to a load without the server. While the source fails,
// stale entries are served without a load.
func (c *Cache[V]) offlineOutcome(key string, err error, missing bool) {
	switch {
	case err == nil || missing:
		c.backoff.succeeded(key)
	case c.near.last(key, c.core.Clock().Now()) != nil:
		c.backoff.failed(key)
	}
}

// nearValue gives an entry a value of its own. It reports false if the value can't be copied.
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
