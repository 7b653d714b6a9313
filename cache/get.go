package cache

import (
	"context"
	"errors"
	"time"
)

// Get returns the value of key. It returns [ErrNotFound] if no value is stored, or only a stale
// one. One round trip; none if the near cache has the value.
func (c *Cache[V]) Get(ctx context.Context, key string) (V, error) {
	if c.near != nil && !ofMemo(key) {
		now := c.core.Clock().Now()
		if e := c.near.get(key, now); e != nil && now < e.soft {
			if v, ok, err := c.takeNear(key, e); ok {
				return v, err
			}
		}
	}
	ctx, end := c.observe(ctx, "get")
	v, err := c.get(ctx, key)
	end(spanError(err))
	return v, err
}

func (c *Cache[V]) get(ctx context.Context, key string) (V, error) {
	var zero V
	if err := checkKey(key); err != nil {
		return zero, c.fail("get", err)
	}
	if err := c.usable(); err != nil {
		return zero, c.fail("get", err)
	}
	e, err := c.readKnown(ctx, key)
	if err != nil {
		c.count.add(cErrors, 1)
		if v, from, ok, failed := c.takeSuspect(key, err, 0); ok {
			c.degraded(ctx, policyOf(from), err)
			return v, failed
		}
		return zero, c.fail("get", err)
	}
	c.countFound(e.state)
	if e.state == fresh {
		return e.value, nil
	}
	return zero, ErrNotFound
}

// GetOrLoad returns the value of key. If none is stored, it loads and stores one (C1, C2). Round
// trips: none if the near cache has the value, one if the server has it, and three and the load on
// a miss. If the last 8 keys were missing, a miss takes two round trips.
//
// Of all callers in all processes, one loads and the others wait for its value. If the load fails,
// all waiting callers of this process get the loader's error, and the next call loads again. While
// the server can't be reached, each process loads for itself and stores nothing (C4). Errors of the
// server are counted and not returned.
//
// Errors: those of ctx and of the loader, [ErrLoadTimeout], [ErrLoadFailed], [ErrOwnKey], and
// invalid arguments. If the loader panics, each waiting caller of this process panics.
func (c *Cache[V]) GetOrLoad(ctx context.Context, key string, load Loader[V], opts ...CallOption) (V, error) {
	if c.near != nil && !ofMemo(key) {
		now := c.core.Clock().Now()
		if e := c.near.get(key, now); e != nil && now < e.soft {
			if now >= e.early && load != nil {
				c.nearEarly(ctx, key, load, opts, e, now)
			}
			writeSource(opts, FromNear)
			if c.sharing == shareValue && !e.negative { // as takeNear, but the value is copied once less
				c.count.add(cNearHits, 1)
				return e.value, nil
			}
			if v, ok, err := c.takeNear(key, e); ok {
				return v, err
			}
		}
	}
	ctx, end := c.observe(ctx, "get or load")
	defer endPanicked(end)
	v, err := c.checkedGetOrLoad(ctx, key, load, opts)
	end(spanError(err))
	return v, err
}

// takeNear returns the value of a near-cached entry. It reports false if the value can't be copied,
// and removes the entry (C1).
func (c *Cache[V]) takeNear(key string, e *nearEntry[V]) (v V, ok bool, err error) {
	if e.negative {
		c.count.add(cNearHits, 1)
		return v, true, ErrNotFound
	}
	if v, ok = c.private(e.value, e.encoded); !ok {
		c.near.invalidate(key)
		return v, false, nil
	}
	c.count.add(cNearHits, 1)
	return v, true, nil
}

// nearEarly starts an early refresh of a near-cached entry, if early decides so.
func (c *Cache[V]) nearEarly(ctx context.Context, key string, load Loader[V], opts []CallOption,
	e *nearEntry[V], now time.Duration) {
	if e.negative || !c.early(e.soft-now, e.cost) {
		return
	}
	if set, err := c.settings(opts); err == nil {
		c.refresh(ctx, []wanted{{key: key, seen: "=" + string(e.head[:])}}, source[V]{one: load}, set)
	}
}

func (c *Cache[V]) checkedGetOrLoad(ctx context.Context, key string, load Loader[V], opts []CallOption) (V, error) {
	var zero V
	if load == nil {
		return zero, c.fail("get or load", errNilLoader)
	}
	if err := checkKey(key); err != nil {
		return zero, c.fail("get or load", err)
	}
	set, err := c.settings(opts)
	if err != nil {
		return zero, err
	}
	v, from, err := c.getOrLoad(ctx, key, load, set)
	writeSource(opts, from)
	return v, err
}

var errNilLoader = errors.New("the loader is nil")

func (c *Cache[V]) getOrLoad(ctx context.Context, key string, load Loader[V], set settings) (V, Source, error) {
	if err := c.usable(); err != nil {
		var zero V
		return zero, FromLoader, c.fail("get or load", err)
	}
	near := c.near != nil && c.near.last(key, c.core.Clock().Now()) != nil // suspect or stale
	w := wanted{key: key, optimistic: !near && c.absence.expected() && !c.pends(key)}
	if !w.optimistic {
		e, err := c.readKnown(ctx, key)
		w.offline, w.down = err != nil, err
		switch {
		case ctx.Err() != nil:
			return e.value, FromLoader, c.fail("get or load", ended(ctx))
		case w.offline:
			c.count.add(cErrors, 1)
			if v, from, ok, failed := c.takeSuspect(key, err, set.staleFor); ok {
				c.degraded(ctx, policyOf(from), err)
				return v, from, failed
			}
			c.degraded(ctx, policyLoad, err)
		default:
			c.absence.saw(e.state == missing)
		}
		if e.state == stale {
			return c.reload(ctx, staleKey[V]{key, e.head, e.value}, load, set)
		}
		c.countFound(e.state)
		switch e.state {
		case fresh:
			if c.earlyFound(&e) {
				c.refresh(ctx, []wanted{{key: key, seen: "=" + e.head}}, source[V]{one: load}, set)
			}
			return e.value, FromServer, nil
		case negative:
			return e.value, FromServer, ErrNotFound
		}
		w.seen = rejectedHead(e.state, e.head)
	}
	return c.miss(ctx, w, load, set)
}

// miss loads a key. If the load fails while the server can't be reached, it serves a stale
// near-cached entry.
func (c *Cache[V]) miss(ctx context.Context, w wanted, load Loader[V], set settings) (V, Source, error) {
	var l loaded[V]
	if err := c.ownKey(ctx, []wanted{w}); err != nil {
		return l.value, FromLoader, c.fail("get or load", err)
	}
	c.load(ctx, []wanted{w}, source[V]{one: load}, set, func(_ int, got loaded[V]) { l = got })
	if w.optimistic {
		switch l.from {
		case FromLoader:
			c.count.add(cMisses, 1)
		case FromServer:
			if l.state == stale {
				return c.reload(ctx, staleKey[V]{w.key, l.head, l.value}, load, set)
			}
			c.countFound(l.state)
		}
	}
	if l.err != nil && !l.missing && w.offline && !callEnded(ctx, l.err) && !errors.Is(l.err, errClosed) {
		if v, ok := c.takeStale(w.key, set.staleFor); ok {
			c.degradedStale(ctx, w.down, l.err)
			return v, FromStale, nil
		}
	}
	return l.value, l.from, c.ownError(ctx, "get or load", l.err)
}

// ownError adds the call to an error that is not the loader's: the end of ctx, or of the cache.
func (c *Cache[V]) ownError(ctx context.Context, verb string, err error) error {
	if callEnded(ctx, err) || errors.Is(err, errClosed) {
		return c.fail(verb, err)
	}
	return err
}

// reload serves a stale entry and reloads it.
func (c *Cache[V]) reload(ctx context.Context, old staleKey[V], load Loader[V], set settings) (v V, from Source, err error) {
	again := c.serveStale(ctx, []staleKey[V]{old}, source[V]{one: load}, set,
		func(_ string, value V, source Source, failed error) {
			v, from, err = value, source, failed
		})
	if again != nil {
		return c.miss(ctx, again[0], load, set)
	}
	return v, from, err
}
