package cache

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/redstart-go/redstart/internal/flight"
)

// result is what a flight brings home.
type result[V any] struct {
	value V
	began time.Time // of the load; zero if the value was read
	// overtaken says that the load's lease was lost: the value may be older than
	// an invalidation that came after the load began.
	overtaken bool
}

// GetOrLoad returns the value of key, and loads and stores it if there is none (C1, C2). A hit is one
// round trip; a miss three, and the load.
//
// Of all callers in all processes one loads; the others wait for its value. The loader's error goes to
// every caller of this process that waited, and the key is free at once. While the server can't be reached
// each process loads for itself and stores nothing (C4); errors of the server are counted, not returned.
//
// Errors: ctx's; the loader's; ErrLoadTimeout; bad arguments. A panic of the loader is one in each waiting
// caller.
func (c *Cache[V]) GetOrLoad(ctx context.Context, key string, load Loader[V], opts ...CallOption) (V, error) {
	var zero V
	if load == nil {
		return zero, c.fail("get or load", errors.New("the loader is nil"))
	}
	if err := checkKey(key); err != nil {
		return zero, c.fail("get or load", err)
	}
	set, err := c.settings(opts)
	if err != nil {
		return zero, err
	}
	e, err := c.read(ctx, key)
	down := err != nil
	switch {
	case ctx.Err() != nil:
		return zero, c.fail("get or load", context.Cause(ctx))
	case down:
		c.count.add(cErrors, 1)
	case e.state == fresh:
		c.count.add(cHits, 1)
		return e.value, nil
	case e.state == negative:
		c.count.add(cNegativeHits, 1)
		return zero, ErrNotFound
	}
	c.count.add(cMisses, 1)
	return c.miss(ctx, key, load, set, rejectedHead(e.state, e.head), down)
}

// miss takes part in a flight for key.
func (c *Cache[V]) miss(ctx context.Context, key string, load Loader[V], set settings, seen string, down bool) (V, error) {
	began := time.Now()
	for {
		r, _, err := c.flights.Do(ctx, key, func(ctx context.Context) (result[V], error) {
			if down {
				return c.loadOnly(ctx, key, load, set)
			}
			return c.leased(ctx, key, load, set, seen)
		})
		switch {
		case err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()):
			return r.value, c.fail("get or load", context.Cause(ctx))
		case errors.Is(err, flight.ErrClosed):
			return r.value, c.fail("get or load", errClosed)
		case r.overtaken && r.began.Before(began):
			// We joined a load that had begun before us, and an invalidation overtook it. It may have
			// returned before we began, and then the value must not be ours (C1).
			//
			//	A  ──load══════════════╗ lease lost
			//	B     Delete returned  ║
			//	we            └─join───╝ ask again
			continue
		}
		return r.value, err
	}
}

// leased loads under the lease of key, or waits for the one who holds it.
func (c *Cache[V]) leased(ctx context.Context, key string, load Loader[V], set settings, seen string) (result[V], error) {
	wake := c.waiters.add(key)
	defer c.waiters.remove(key, wake)
	pause := patience{tracked: c.core.Capabilities().Tracking}
	for waited := false; ; {
		token := newToken()
		msg, err := c.core.EvalTracked(ctx, leaseScript, c.pair(key), []string{token, millis(c.opt.LoadTimeout), seen})
		if err != nil {
			c.count.add(cErrors, 1)
			c.freeLater(ctx, key, token) // it may have been granted
			if ctx.Err() != nil {
				return result[V]{}, err
			}
			return c.loadOnly(ctx, key, load, set)
		}
		if msg.IsString() {
			e, err := c.interpret(msg)
			if err != nil {
				return c.loadOnly(ctx, key, load, set)
			}
			switch e.state {
			case fresh:
				return result[V]{value: e.value}, nil
			case negative:
				return result[V]{}, ErrNotFound
			}
			seen = rejectedHead(e.state, e.head)
			continue
		}
		answer, err := msg.AsInt64()
		switch {
		case err != nil || answer == 0:
			return c.loadOnly(ctx, key, load, set)
		case answer > 0:
			c.serverSaid(answer)
			return c.loadAndFill(ctx, key, token, load, set)
		}
		if !waited {
			waited = true
			c.count.add(cWaits, 1)
		}
		if !sleep(ctx, wake, pause.step(time.Duration(-answer)*time.Millisecond)) {
			return result[V]{}, context.Cause(ctx)
		}
	}
}

// rejectedHead is how lease.lua hears of an entry that is there but of no use.
func rejectedHead(s state, head string) string {
	if s == rejected {
		return "=" + head
	}
	return ""
}

// loadOnly loads without storing: held down, or the server can't be asked.
func (c *Cache[V]) loadOnly(ctx context.Context, key string, load Loader[V], set settings) (result[V], error) {
	r, _, err := c.load(ctx, key, load, &set)
	return r, err
}

// loadAndFill loads under the lease that token holds.
func (c *Cache[V]) loadAndFill(ctx context.Context, key, token string, load Loader[V], set settings) (r result[V], err error) {
	freed := false
	defer func() {
		if !freed { // the loader panicked
			c.free(ctx, key, token, false)
		}
	}()
	r, cost, err := c.load(ctx, key, load, &set)
	freed = true
	var data string
	var ttl time.Duration
	switch {
	case err == nil:
		var encodeErr error
		if data, ttl, encodeErr = c.encode(&r.value, &set, cost); encodeErr != nil {
			c.count.add(cTooLarge, 1)
			c.core.Logger().Warn("cache: a loaded value can't be stored", "cache", c.name, "error", encodeErr)
			r.overtaken = !c.free(ctx, key, token, false)
			return r, nil
		}
	case errors.Is(err, ErrNotFound) && c.opt.NegativeTTL > 0:
		data, ttl = c.encodeNegative()
	default:
		r.overtaken = !c.free(ctx, key, token, errors.Is(err, ErrNotFound))
		return r, err
	}
	msg, fillErr := c.core.EvalTracked(ctx, fillScript, c.pair(key), []string{token, data, millis(ttl)})
	c.waiters.wake(key)
	if fillErr != nil {
		c.count.add(cErrors, 1)
		return r, err
	}
	if stored, _ := msg.AsInt64(); stored != 1 {
		c.count.add(cLeaseLost, 1)
		r.overtaken = true
	}
	return r, err
}

// free gives a lease up and reports false if it was lost before.
func (c *Cache[V]) free(ctx context.Context, key, token string, drop bool) bool {
	args := []string{token, ""}
	if drop {
		args[1] = "1"
	}
	// The callers may have left: that must not keep the key locked.
	msg, err := c.core.EvalTracked(context.WithoutCancel(ctx), freeScript, c.pair(key), args)
	c.waiters.wake(key)
	if err != nil {
		c.count.add(cErrors, 1)
		return true // not known
	}
	had, _ := msg.AsInt64()
	if had != 1 {
		c.count.add(cLeaseLost, 1)
	}
	return had == 1
}

// freeLater gives up a lease of which it is not known whether it was granted. The connection keeps the
// order, so that it comes after the grant.
func (c *Cache[V]) freeLater(ctx context.Context, key, token string) {
	c.core.Group().Go("release of a lease of cache "+c.name, func(context.Context) { c.free(ctx, key, token, false) })
}

// load runs the loader, for at most LoadTimeout.
func (c *Cache[V]) load(ctx context.Context, key string, load Loader[V], set *settings) (r result[V], cost time.Duration, err error) {
	r.began = time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, c.opt.LoadTimeout, ErrLoadTimeout)
	defer cancel()
	type answer struct {
		value    V
		err      error
		panicked *flight.PanicError
	}
	done := make(chan answer, 1)
	run := func(context.Context) {
		a := answer{err: flight.ErrGoexit}
		defer func() {
			if p := recover(); p != nil {
				a.panicked = &flight.PanicError{Value: p, Stack: debug.Stack()}
			}
			done <- a
		}()
		a.value, a.err = load(ctx, key)
	}
	if !c.core.Group().Go("load of cache "+c.name, run) {
		return r, 0, errClosed
	}
	var a answer
	select {
	case a = <-done:
	case <-ctx.Done():
		a.err = context.Cause(ctx) // the loader may not look at its context
	}
	cost = time.Since(r.began)
	c.count.add(cLoads, 1)
	c.count.add(cLoadNanos, int64(cost))
	if a.panicked != nil {
		c.count.add(cLoadErrors, 1)
		panic(a.panicked)
	}
	if a.err != nil && context.Cause(ctx) == ErrLoadTimeout && ctx.Err() != nil && !errors.Is(a.err, ErrNotFound) {
		// Not with %w: the deadline was ours, no caller's (A1).
		a.err = fmt.Errorf("%w: no value within %v: %v", ErrLoadTimeout, c.opt.LoadTimeout, a.err)
	}
	if a.err != nil && !errors.Is(a.err, ErrNotFound) {
		c.count.add(cLoadErrors, 1)
	}
	r.value = a.value
	return r, cost, a.err
}
