package cache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// errBusy: another process reloads, or nothing may be stored now. What is there serves on.
var errBusy = errors.New("cache: another load is under way")

// errHeldBack: the last refresh of the key failed a moment ago.
var errHeldBack = errors.New("cache: the last refresh has failed just now")

// serveStale has an entry reloaded that is past its TTL, and serves it until that is done.
func (c *Cache[V]) serveStale(ctx context.Context, key string, load Loader[V], set settings, e *found[V]) (V, Source, error) {
	began := time.Now()
	if c.refreshLater(ctx, key, load, set, e.head) && c.opt.SoftTimeout > 0 {
		wait, cancel := context.WithTimeout(ctx, c.opt.SoftTimeout)
		r, shared, err := c.refreshes.Do(wait, key, c.refresher(key, load, set, e.head))
		cancel()
		switch {
		case ctx.Err() != nil:
			return r.value, FromLoader, c.fail("get or load", ended(ctx))
		case !r.mayBe(began): // as in miss: what is stale here may be invalid by now
			return c.getOrLoad(ctx, key, load, set)
		case err == nil && shared:
			return c.private(r.value, r.payload), FromLoader, nil
		case err == nil, errors.Is(err, ErrNotFound):
			return r.value, FromLoader, err
		}
	}
	c.count.add(cStale, 1)
	return e.value, FromStale, nil
}

// refreshLater reloads key in the background, unless this process is doing so already. It reports false if that has failed so
// lately that it is not to be tried.
func (c *Cache[V]) refreshLater(ctx context.Context, key string, load Loader[V], set settings, head string) bool {
	if c.heldBack(key) {
		return false
	}
	if c.refreshes.Waiters(key) > 0 {
		return true
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	started := c.core.Group().Go("refresh of cache "+c.name, func(closing context.Context) {
		defer cancel()
		defer context.AfterFunc(closing, cancel)()
		_, _, err := c.refreshes.Do(ctx, key, c.refresher(key, load, set, head))
		if err != nil && !errors.Is(err, errBusy) && !errors.Is(err, errHeldBack) && !errors.Is(err, ErrNotFound) {
			c.core.Logger().Warn("cache: a refresh failed", "cache", c.name, "error", err)
		}
	})
	if !started {
		cancel()
	}
	return true
}

// heldBack counts what backoff.holds.
func (s *store) heldBack(key string) bool {
	held := s.backoff.holds(key)
	if held {
		s.count.add(cHeldBack, 1)
	}
	return held
}

// refreshed notes how the loader of a refresh fared.
func (s *store) refreshed(ctx context.Context, key string, err error) {
	switch {
	case err == nil, errors.Is(err, ErrNotFound):
		s.backoff.succeeded(key)
	case ctx.Err() == nil: // it was not called off
		s.backoff.failed(key)
		s.count.add(cRefreshErrors, 1)
	}
}

// refresher reloads key under its lease, if that is free and the entry with this head still stands.
func (c *Cache[V]) refresher(key string, load Loader[V], set settings, head string) func(context.Context) (result[V], error) {
	return func(ctx context.Context) (r result[V], err error) {
		loads := false
		defer func() {
			if p := recover(); p != nil { // nobody is there to panic in: the value that stands is served
				err = c.panicked(p)
			}
			if loads {
				c.refreshed(ctx, key, err)
			}
		}()
		if c.backoff.holds(key) { // another flight has failed since the call of this one looked
			return r, errHeldBack
		}
		a := ask{key: key, token: newToken(), pair: c.pair(key), seen: "=" + head}
		c.lease(ctx, []*ask{&a})
		if a.holds {
			c.freeLater(ctx, &a)
		}
		switch a.answer {
		case leaseGranted:
		case leaseFailed:
			c.count.add(cErrors, 1)
			return r, a.err
		default:
			return r, errBusy
		}
		c.count.add(cRefreshes, 1)
		loads = true
		return c.loadAndFill(ctx, &a, load, set)
	}
}

func (s *store) panicked(p any) error { return fmt.Errorf("cache: %s: refresh: %v", s.name, p) }

// earliest is how long before its TTL ends an entry may be reloaded. XFetch has no bound; beyond this one lie
// two in a thousand million.
func (s *store) earliest(cost time.Duration) time.Duration {
	return time.Duration(20 * s.opt.EarlyRefresh * float64(cost))
}

// early throws XFetch's dice for an entry that is fresh for left, and whose load took cost.
func (s *store) early(left, cost time.Duration) bool {
	return left < s.earliest(cost) && rand.ExpFloat64()*s.opt.EarlyRefresh*float64(cost) >= float64(left)
}
