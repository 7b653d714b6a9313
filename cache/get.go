package cache

import (
	"context"
	"errors"
	"time"

	"github.com/redstart-go/redstart/internal/flight"
	"github.com/redstart-go/redstart/observe"
)

// Get returns the value of key, and ErrNotFound if none is stored, or only a stale one: one round trip, none
// if it is near.
func (c *Cache[V]) Get(ctx context.Context, key string) (V, error) {
	if c.near != nil && !ofMemo(key) {
		now := c.core.Clock().Now()
		if e := c.near.get(key, now); e != nil && now < e.soft {
			return c.takeNear(e)
		}
	}
	ctx, end := c.observe(ctx, "get")
	v, err := c.get(ctx, key)
	end(err)
	return v, err
}

func (c *Cache[V]) get(ctx context.Context, key string) (V, error) {
	var zero V
	if err := checkKey(key); err != nil {
		return zero, c.fail("get", err)
	}
	if c.owes(key) && !c.settleDebt(ctx) {
		c.count.add(cErrors, 1)
		return zero, c.fail("get", errOwed)
	}
	e, err := c.read(ctx, key)
	if err != nil {
		c.count.add(cErrors, 1)
		return zero, c.fail("get", err)
	}
	switch e.state {
	case fresh:
		c.count.add(cHits, 1)
		return e.value, nil
	case negative:
		c.count.add(cNegativeHits, 1)
	default:
		c.count.add(cMisses, 1)
	}
	return zero, ErrNotFound
}

// GetOrLoad returns the value of key, and loads and stores it if there is none (C1, C2). A near hit costs
// nothing, a hit one round trip, a miss three and the load; two where most keys that are asked for are missing.
//
// Of all callers in all processes one loads; the others wait for its value. The loader's error goes to
// every caller of this process that waited, and the key is free at once. While the server can't be reached
// each process loads for itself and stores nothing (C4); errors of the server are counted, not returned.
//
// Errors: ctx's; the loader's; ErrLoadTimeout; bad arguments. A panic of the loader is one in each waiting
// caller.
func (c *Cache[V]) GetOrLoad(ctx context.Context, key string, load Loader[V], opts ...CallOption) (V, error) {
	if c.near != nil && !ofMemo(key) {
		now := c.core.Clock().Now()
		if e := c.near.get(key, now); e != nil && now < e.soft {
			if now >= e.early && load != nil {
				c.nearEarly(ctx, key, load, opts, e, now)
			}
			tell(opts, FromNear)
			if c.sharing == shareValue && !e.negative { // takeNear, without copying the value once more
				c.count.add(cNearHits, 1)
				return e.value, nil
			}
			return c.takeNear(e)
		}
	}
	ctx, end := c.observe(ctx, "get or load")
	v, err := c.checkedGetOrLoad(ctx, key, load, opts)
	end(err)
	return v, err
}

// takeNear hands out a near entry.
func (c *Cache[V]) takeNear(e *nearEntry[V]) (V, error) {
	c.count.add(cNearHits, 1)
	switch {
	case e.negative:
		var zero V
		return zero, ErrNotFound
	case c.sharing == shareValue:
		return e.value, nil
	}
	return c.private(e.value, e.payload), nil
}

// nearEarly begins an early refresh, if the dice say so.
func (c *Cache[V]) nearEarly(ctx context.Context, key string, load Loader[V], opts []CallOption, e *nearEntry[V], now time.Duration) {
	if e.negative || !c.early(e.soft-now, e.cost) {
		return
	}
	if set, err := c.settings(opts); err == nil {
		c.refreshLater(ctx, key, load, set, string(e.head[:]))
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
	tell(opts, from)
	return v, err
}

var errNilLoader = errors.New("the loader is nil")

func (c *Cache[V]) getOrLoad(ctx context.Context, key string, load Loader[V], set settings) (V, Source, error) {
	var last *nearEntry[V] // stale, but better than an error
	if c.near != nil {
		last = c.near.get(key, c.core.Clock().Now())
	}
	if last == nil && c.guess.absent() && !c.owes(key) {
		v, from, err := c.miss(ctx, wanted{key: key, guessed: true}, load, set)
		if !errors.Is(err, errStands) {
			c.count.add(cMisses, 1)
			return v, from, err
		}
	}
	return c.readOrLoad(ctx, key, load, set, last)
}

// readOrLoad is getOrLoad without a guess.
func (c *Cache[V]) readOrLoad(ctx context.Context, key string, load Loader[V], set settings, last *nearEntry[V]) (V, Source, error) {
	var zero V
	var e found[V]
	var err error
	down := c.owes(key) && !c.settleDebt(ctx)
	if !down {
		e, err = c.read(ctx, key)
		down = err != nil
	}
	if !down {
		c.guess.saw(e.state == missing)
	}
	switch {
	case ctx.Err() != nil:
		return zero, FromLoader, c.fail("get or load", ended(ctx))
	case down:
		c.count.add(cErrors, 1)
	case e.state == fresh:
		c.count.add(cHits, 1)
		left := time.Duration(e.header.soft-c.serverNow()) * time.Millisecond
		if c.early(left, time.Duration(e.header.cost)*time.Millisecond) {
			c.refreshLater(ctx, key, load, set, e.head)
		}
		return e.value, FromServer, nil
	case e.state == negative:
		c.count.add(cNegativeHits, 1)
		return zero, FromServer, ErrNotFound
	case e.state == stale:
		return c.serveStale(ctx, key, load, set, &e)
	}
	c.count.add(cMisses, 1)
	v, from, err := c.miss(ctx, wanted{key: key, seen: rejectedHead(e.state, e.head), down: down}, load, set)
	if err != nil && down && last != nil && !last.negative && ctx.Err() == nil && !errors.Is(err, ErrNotFound) {
		if now := c.core.Clock().Now(); c.near.get(key, now) == last {
			c.count.add(cStale, 1)
			return c.private(last.value, last.payload), FromStale, nil
		}
	}
	return v, from, err
}

// result is what a flight brings home.
type result[V any] struct {
	value   V
	payload string // its encoding, if at hand
	// until says whose it may be: of those who began by then, before whom no invalidation can have returned that the
	// value does not know of. That is when a value was asked for; when a load began; and, once the server has confirmed
	// that nothing had overtaken the load, when that was asked. Zero is anybody's: the server can't be asked.
	until time.Time
}

// mayBe reports whether a caller who began then may have it.
func (r *result[V]) mayBe(began time.Time) bool { return r.until.IsZero() || !began.After(r.until) }

// miss takes part in a flight for a key.
func (c *Cache[V]) miss(ctx context.Context, w wanted, load Loader[V], set settings) (V, Source, error) {
	began := time.Now()
	for {
		r, shared, err := c.flights.Do(ctx, w.key, func(ctx context.Context) (result[V], error) {
			if w.down {
				return c.loadOnly(ctx, w.key, load, set)
			}
			return c.leased(ctx, w, load, set)
		})
		switch {
		case err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()):
			return r.value, FromLoader, c.fail("get or load", ended(ctx))
		case errors.Is(err, flight.ErrClosed):
			return r.value, FromLoader, c.fail("get or load", errClosed)
		case errors.Is(err, errStands):
			if w.guessed {
				return r.value, FromServer, err
			}
			return c.readOrLoad(ctx, w.key, load, set, nil) // we joined a flight that was begun on a guess
		case !r.mayBe(began):
			// We joined a flight, and an invalidation may have returned between what it knows of and our
			// beginning. Then the value must not be ours (C1).
			//
			//	A  ──load═══════════════╗ lease lost       ──load══fill══reply─╗
			//	B     Delete returned   ║             or                Delete ║
			//	we             └─join───╝ ask again                      └join─╝ ask again
			continue
		case err == nil && shared:
			return c.private(r.value, r.payload), FromLoader, nil
		}
		return r.value, FromLoader, err
	}
}

// observe begins a span, if somebody looks.
func (s *store) observe(ctx context.Context, verb string) (context.Context, func(error)) {
	if !s.core.Observed() {
		return ctx, func(error) {}
	}
	return s.core.Start(ctx, observe.Operation{Pattern: "cache", Name: s.name, Verb: verb})
}
