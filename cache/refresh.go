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

// serveStale has an entry reloaded that is past its TTL, and serves it until that is done.
func (c *Cache[V]) serveStale(ctx context.Context, key string, load Loader[V], set settings, e *found[V]) (V, Source, error) {
	began := time.Now()
	c.refreshLater(ctx, key, load, set, e.head)
	if c.opt.SoftTimeout > 0 {
		wait, cancel := context.WithTimeout(ctx, c.opt.SoftTimeout)
		r, shared, err := c.refreshes.Do(wait, key, c.refresher(key, load, set, e.head))
		cancel()
		switch {
		case ctx.Err() != nil:
			return r.value, FromLoader, c.fail("get or load", context.Cause(ctx))
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

// refreshLater reloads key in the background, unless this process is doing so already.
func (c *Cache[V]) refreshLater(ctx context.Context, key string, load Loader[V], set settings, head string) {
	if c.refreshes.Waiters(key) > 0 {
		return
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	started := c.core.Group().Go("refresh of cache "+c.name, func(closing context.Context) {
		defer cancel()
		defer context.AfterFunc(closing, cancel)()
		_, _, err := c.refreshes.Do(ctx, key, c.refresher(key, load, set, head))
		if err != nil && !errors.Is(err, errBusy) && !errors.Is(err, ErrNotFound) {
			c.core.Logger().Warn("cache: a refresh failed", "cache", c.name, "error", err)
		}
	})
	if !started {
		cancel()
	}
}

// refresher reloads key under its lease, if that is free and the entry with this head still stands.
func (c *Cache[V]) refresher(key string, load Loader[V], set settings, head string) func(context.Context) (result[V], error) {
	return func(ctx context.Context) (r result[V], err error) {
		defer func() {
			if p := recover(); p != nil { // nobody is there to panic in: the value that stands is served
				err = fmt.Errorf("cache: %s: refresh: %v", c.name, p)
			}
		}()
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
		return c.loadAndFill(ctx, &a, load, set)
	}
}

// earliest is how long before its TTL ends an entry may be reloaded. XFetch has no bound; beyond this one lie
// two in a thousand million.
func (s *store) earliest(cost time.Duration) time.Duration {
	return time.Duration(20 * s.opt.EarlyRefresh * float64(cost))
}

// early throws XFetch's dice for an entry that is fresh for left, and whose load took cost.
func (s *store) early(left, cost time.Duration) bool {
	return left < s.earliest(cost) && rand.ExpFloat64()*s.opt.EarlyRefresh*float64(cost) >= float64(left)
}
