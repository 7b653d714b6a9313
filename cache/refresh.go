package cache

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// errHeldBack means that the last refresh of the key failed a moment ago.
var errHeldBack = errors.New("cache: the last refresh of this key failed a moment ago")

// staleKey is an entry past its TTL. It may be served while it is reloaded.
type staleKey[V any] struct {
	key, head string
	value     V
}

// serveStale starts reloads of stale entries, and serves each entry until its reload ends. take
// gets the values. It returns the keys to load again: an invalidation may have ended their entries
// during the wait.
func (c *Cache[V]) serveStale(ctx context.Context, old []staleKey[V], source source[V], set settings,
	take func(key string, v V, from Source, err error)) (again []wanted) {
	if len(old) == 0 {
		return nil
	}
	began := time.Now()
	want := make([]wanted, len(old))
	for i := range old {
		want[i] = wanted{key: old[i].key, seen: "=" + old[i].head}
	}
	claims := c.refresh(ctx, want, source, set)
	wait, cancel := ctx, context.CancelFunc(func() {})
	if c.opt.SoftTimeout > 0 {
		wait, cancel = context.WithTimeout(ctx, c.opt.SoftTimeout)
	}
	defer cancel()

	for i := range old {
		key := old[i].key
		if c.opt.SoftTimeout > 0 && claims[i] != nil {
			r, shared, err := claims[i].Wait(wait)
			switch {
			case ctx.Err() != nil:
				take(key, old[i].value, FromLoader, c.fail("get or load", ended(ctx)))
				continue
			case wait.Err() != nil && errors.Is(err, wait.Err()):
			case !r.sharers.include(began, false):
				again = append(again, wanted{key: key})
				continue
			case err == nil || r.missing:
				v, err := c.handOut(ctx, key, &r, shared, err, source, set)
				take(key, v, FromLoader, err)
				continue
			}
		}
		c.count.add(cStale, 1)
		take(key, old[i].value, FromStale, nil)
	}
	return again
}

// refresh reloads keys together in the background. It returns a claim for each. A claim is nil if
// the last refresh of the key failed a moment ago. Without a SoftTimeout no caller waits, and the
// claim of a running refresh is nil too.
func (c *Cache[V]) refresh(ctx context.Context, want []wanted, source source[V], set settings) []claim[V] {
	claims := make([]claim[V], len(want))
	j := &job[V]{cache: c, source: source, set: set, refresh: true}
	for i, w := range want {
		if c.heldBack(w.key) {
			continue
		}
		if c.opt.SoftTimeout == 0 && c.refreshes.Waiters(w.key) > 0 {
			continue
		}
		claim, begun := c.refreshes.Join(ctx, w.key, true)
		claims[i] = claim
		switch {
		case !begun:
		case c.backoff.holds(w.key): // another refresh has failed since the check above
			claim.Finish(result[V]{}, errHeldBack)
		default:
			j.add(w, claim)
		}
	}
	j.start(ctx)
	return claims
}

// heldBack calls backoff.holds and counts.
func (s *store) heldBack(key string) bool {
	held := s.backoff.holds(key)
	if held {
		s.count.add(cHeldBack, 1)
	}
	return held
}

// refreshed records the source's answer to a refresh.
func (j *job[V]) refreshed(ctx context.Context, items []*item[V], answers []answer[V], err error) {
	c := j.cache
	if err != nil {
		j.refreshFailed(ctx, err)
	}
	for i, item := range items {
		if answers[i].err == nil || answers[i].missing {
			c.backoff.succeeded(item.key)
		}
	}
}

// refreshFailed records a failure for all items that are not done. The end of ctx is no failure.
func (j *job[V]) refreshFailed(ctx context.Context, err error) {
	c := j.cache
	if ctx.Err() != nil {
		return
	}
	c.core.Logger().Warn("cache: a refresh failed", "cache", c.name, "keys", len(j.items), "error", err)
	for _, item := range j.items {
		if !item.done {
			c.backoff.failed(item.key)
			c.count.add(cRefreshErrors, 1)
		}
	}
}

// earliest returns how long before its TTL ends an entry may be refreshed. XFetch has no such
// bound; two refreshes in 10⁹ would start before it.
func (s *store) earliest(cost time.Duration) time.Duration {
	return time.Duration(20 * s.opt.EarlyRefresh * float64(cost))
}

// earlyFound calls early for a fresh entry from the server.
func (c *Cache[V]) earlyFound(e *found[V]) bool {
	return c.early(time.Duration(e.header.soft-c.serverNow())*time.Millisecond, time.Duration(e.header.cost)*time.Millisecond)
}

// early decides at random, by XFetch, whether to refresh an entry. The entry is fresh for left, and
// its load took cost.
func (s *store) early(left, cost time.Duration) bool {
	return left < s.earliest(cost) && rand.ExpFloat64()*s.opt.EarlyRefresh*float64(cost) >= float64(left)
}
