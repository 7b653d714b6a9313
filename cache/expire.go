package cache

import (
	"context"

	"github.com/redstart-go/redstart/internal/core"
)

// expired is the soft expiry of an entry after Expire: see expire.lua.
const expired = 0

// Expire makes stored values stale at once: one round trip per node. GetOrLoad serves the old value
// while one caller of all processes reloads it, for any Options.StaleFor. Loads of the keys that
// are running in any process can't store their result. Each later call therefore gets the old value
// and starts its reload, or a value whose load began after Expire (C1). Near caches of other
// processes are notified by a push (C3).
//
// Get and GetMany return no stale values. A stale value is kept for the rest of its TTL and of
// StaleFor. A remembered ErrNotFound ends. With Options.HoldDown, the old value is served until a
// load may store again.
//
// Use Delete if the old value is wrong, and Expire if it is only old. It returns
// the errors of [Cache.Delete]. An Expire that the server did not confirm is replayed as a Delete.
func (c *Cache[V]) Expire(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := checkKey(key); err != nil {
			return c.fail("expire", err)
		}
	}
	return c.invalidateKeys(ctx, "expire", keys, c.expire, false)
}

func (s *store) expire(ctx context.Context, keys []string) []core.Result {
	hold := "0"
	if s.opt.HoldDown > 0 {
		hold = millis(s.opt.HoldDown)
	}
	calls := make([]core.Call, len(keys))
	for i, key := range keys {
		calls[i] = core.Call{Keys: s.pair(key), Args: []string{hold}}
	}
	return s.core.EvalMulti(ctx, expireScript, calls)
}

// Refresh loads the value of key now, also if a value is stored, and returns it: four round trips
// and the load. Other callers get the stored value in the meantime. It takes the lease of the key
// as a miss does (C2): if a load of the key is running in any process, Refresh waits for it and
// returns its value. A load that fails leaves the stored value as it is; ErrNotFound removes it.
//
// After a change of the source, use Delete or Expire instead: Refresh does not void loads that
// began before the change.
//
// It returns the errors of [Cache.GetOrLoad]. While the server can't be reached, Refresh loads the
// value and does not store it (C4).
func (c *Cache[V]) Refresh(ctx context.Context, key string, load Loader[V], opts ...CallOption) (V, error) {
	var zero V
	if load == nil {
		return zero, c.fail("refresh", errNilLoader)
	}
	if err := checkKey(key); err != nil {
		return zero, c.fail("refresh", err)
	}
	set, err := c.settings(opts)
	if err != nil {
		return zero, err
	}
	if err := c.usable(); err != nil {
		return zero, c.fail("refresh", err)
	}
	ctx, end := c.observe(ctx, "refresh")
	defer endPanicked(end)
	v, from, err := c.refreshNow(ctx, key, load, set)
	end(spanError(err))
	writeSource(opts, from)
	return v, err
}

func (c *Cache[V]) refreshNow(ctx context.Context, key string, load Loader[V], set settings) (v V, from Source, err error) {
	e, err := c.readKnown(ctx, key)
	w := wanted{key: key, offline: err != nil}
	switch {
	case ctx.Err() != nil:
		return v, FromLoader, c.fail("refresh", ended(ctx))
	case w.offline:
		c.count.add(cErrors, 1)
		c.degraded(ctx, policyLoad, err)
	case e.state != missing:
		w.seen = "=" + e.head
		c.count.add(cRefreshes, 1)
	default:
		c.count.add(cMisses, 1)
	}
	if err := c.ownKey(ctx, []wanted{w}); err != nil {
		return v, FromLoader, c.fail("refresh", err)
	}

	var l loaded[V]
	for again := true; again; {
		c.load(ctx, []wanted{w}, source[V]{one: load}, set, func(_ int, got loaded[V]) { l = got })
		// The call may have joined the load of a GetOrLoad that found the old value.
		again = l.err == nil && l.state != missing && w.seen == "="+l.head
	}
	return l.value, l.from, c.ownError(ctx, "refresh", l.err)
}
