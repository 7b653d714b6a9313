package cache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"runtime/pprof"
	"time"

	"github.com/redstart-go/redstart/internal/flight"
)

// leased loads under the lease of key, or waits for the one who holds it.
func (c *Cache[V]) leased(ctx context.Context, w wanted, load Loader[V], set settings) (result[V], error) {
	key, seen := w.key, w.seen
	var wake chan struct{}
	defer func() {
		if wake != nil {
			c.waiters.remove(key, wake)
		}
	}()
	pause := patience{tracked: c.core.Capabilities().Tracking}
	pair := c.pair(key)
	for waited := false; ; {
		a := ask{key: key, token: newToken(), pair: pair, seen: seen}
		asked := time.Now()
		if busy := c.takeLeases(ctx, []*ask{&a}); busy != nil {
			if wake == nil {
				wake = c.waiters.add(key)
			}
			c.howLong(ctx, busy)
		}
		if a.holds {
			c.freeLater(ctx, &a)
		}
		if w.guessed && !waited && (a.answer == leaseGranted || a.answer == leaseValue) {
			c.guess.saw(a.answer == leaseGranted && !a.alien)
			if a.answer == leaseValue {
				return result[V]{}, errStands
			}
		}
		switch a.answer {
		case leaseFailed:
			c.count.add(cErrors, 1)
			if ctx.Err() != nil {
				return result[V]{}, a.err
			}
			return c.loadOnly(ctx, key, load, set)
		case leaseHeldDown:
			r, _, err := c.load(ctx, key, load, &set)
			return r, err
		case leaseGranted:
			return c.loadAndFill(ctx, &a, load, set)
		case leaseValue:
			clear, err := c.clearNow(ctx)
			var e found[V]
			if err == nil {
				e, err = c.resolve(ctx, a.data, clear)
			}
			if err != nil {
				return c.loadOnly(ctx, key, load, set)
			}
			switch e.state {
			case fresh, stale: // stale, and just stored: its TTL is shorter than our wait
				return result[V]{value: e.value, payload: e.payload, until: asked}, nil
			case negative:
				return result[V]{until: asked}, ErrNotFound
			}
			seen = rejectedHead(e.state, e.head)
			if !a.holds {
				continue
			}
			a.left = 0 // what is being given back is free in a moment
		}
		if !waited {
			waited = true
			c.count.add(cWaits, 1)
		}
		if !sleep(ctx, wake, pause.step(a.left)) {
			return result[V]{}, ended(ctx)
		}
	}
}

// rejectedHead is how lease hears of an entry that is there but of no use.
func rejectedHead(s state, head string) string {
	if s == rejected {
		return "=" + head
	}
	return ""
}

// loadOnly loads without storing: the server can't be asked.
func (c *Cache[V]) loadOnly(ctx context.Context, key string, load Loader[V], set settings) (result[V], error) {
	r, _, err := c.load(ctx, key, load, &set)
	r.until = time.Time{}
	return r, err
}

// loadAndFill loads under the lease that was granted.
func (c *Cache[V]) loadAndFill(ctx context.Context, a *ask, load Loader[V], set settings) (result[V], error) {
	returned := false
	defer func() {
		if !returned { // the loader panicked
			c.free(ctx, a, false)
		}
	}()
	st, stampErr := c.stamp(ctx, &set)
	r, cost, err := c.load(ctx, a.key, load, &set)
	returned = true
	if stampErr != nil {
		c.count.add(cErrors, 1)
		c.freeLater(ctx, a)
		return r, err
	}
	var entry sealed
	switch {
	case err == nil:
		if ok, lateErr := c.late(ctx, &st, &set); !ok {
			if lateErr != nil {
				c.count.add(cErrors, 1)
			}
			if confirmed := c.freeConfirmed(ctx, a, false); lateErr != nil {
				r.confirm(confirmed)
			}
			return r, nil
		}
		var encodeErr error
		if entry, encodeErr = c.encode(&r.value, &set, &st, cost); encodeErr != nil {
			c.count.add(cNotStored, 1)
			c.core.Logger().Warn("cache: a loaded value can't be stored", "cache", c.name, "error", encodeErr)
			r.confirm(c.freeConfirmed(ctx, a, false))
			return r, nil
		}
		r.payload = entry.payload
	case errors.Is(err, ErrNotFound) && c.opt.NegativeTTL > 0:
		entry = c.encodeNegative(&st)
	default:
		r.confirm(c.freeConfirmed(ctx, a, errors.Is(err, ErrNotFound)))
		return r, err
	}
	sent := time.Now()
	if c.fill(ctx, a, &entry, &st, r.value) {
		r.confirm(sent)
	} else if a.holds {
		c.freeLater(ctx, a)
	}
	c.at("filled", a.key)
	return r, err
}

// confirm notes that nothing had overtaken the load when the server was asked, unless that is zero: not known.
func (r *result[V]) confirm(asked time.Time) {
	if !asked.IsZero() {
		r.until = asked
	}
}

// freeConfirmed is free, and returns when it was asked if the lease was still ours.
func (c *Cache[V]) freeConfirmed(ctx context.Context, a *ask, drop bool) time.Time {
	asked := time.Now()
	if !c.free(ctx, a, drop) {
		return time.Time{}
	}
	return asked
}

// fill stores what was loaded, on the server and near. It reports whether it did: nothing had overtaken the load.
func (c *Cache[V]) fill(ctx context.Context, a *ask, entry *sealed, st *stamps, value V) (stored bool) {
	if !c.nearby() {
		defer c.told(a.key, a.pair)
		return c.send(ctx, a, entry, false)
	}
	var kept *nearEntry[V]
	ticket := c.near.reserve(a.key)
	if stored = c.send(ctx, a, entry, true); stored {
		e := found[V]{state: fresh, head: head(entry.data), value: value, payload: entry.payload, header: entry.header, clear: st.clear, tags: st.records}
		if entry.header.flags&flagNegative != 0 {
			e.state = negative
		}
		kept = c.nearEntry(a.key, &e)
	}
	c.told(a.key, a.pair)
	c.near.commit(a.key, ticket, kept)
	return stored
}

// send is fill on the server.
func (s *store) send(ctx context.Context, a *ask, entry *sealed, tracked bool) (stored bool) {
	eval, track := s.core.Eval, ""
	if tracked {
		eval, track = s.core.EvalTracked, "1"
	}
	msg, err := eval(ctx, fillScript, a.pair, []string{a.token, entry.data, millis(entry.ttl), track})
	if err != nil {
		s.count.add(cErrors, 1)
		a.holds = true // it may
		return false
	}
	if n, _ := msg.AsInt64(); n != 1 {
		s.count.add(cLeaseLost, 1)
		return false
	}
	return true
}

// told lets the others in this process know that a key was filled or freed: the server pushes nothing to the
// connection that did it.
func (c *Cache[V]) told(key string, pair []string) {
	c.waiters.wake(key)
	c.core.Hub().Announce(pair[0], c.tracker)
}

// free gives a lease up and reports whether it was still held. With drop, what is stored goes too.
func (c *Cache[V]) free(ctx context.Context, a *ask, drop bool) bool {
	had, _ := c.tryFree(ctx, a, drop)
	return had
}

func (c *Cache[V]) tryFree(ctx context.Context, a *ask, drop bool) (had bool, err error) {
	args := []string{a.token, ""}
	if drop {
		args[1] = "1"
	}
	// The callers may have left: that must not keep the key locked.
	msg, err := c.core.Eval(context.WithoutCancel(ctx), freeScript, a.pair, args)
	if drop && c.near != nil {
		c.near.invalidate(a.key)
	}
	c.told(a.key, a.pair)
	if err != nil {
		c.count.add(cErrors, 1)
		return false, err // not known
	}
	n, _ := msg.AsInt64()
	if n != 1 {
		c.count.add(cLeaseLost, 1)
	}
	return n == 1, nil
}

// freeLater gives up a lease of which it is not known whether it was granted, or that is not needed. The connection keeps the
// order, so that it comes after the grant. A server that was stopped may grant it when it goes on: while the server can't be
// reached this is tried again, for as long as the lease could last.
func (c *Cache[V]) freeLater(ctx context.Context, a *ask) {
	ctx = context.WithoutCancel(ctx)
	c.core.Group().Go("release of a lease of cache "+c.name, func(closing context.Context) {
		began := time.Now()
		for wait := replayFirst; ; wait = min(2*wait, replayMax) {
			if _, err := c.tryFree(ctx, a, false); !worthReplaying(err) || time.Since(began) > c.opt.LoadTimeout {
				return
			}
			if !sleep(closing, nil, wait/2+rand.N(wait/2+1)) {
				return
			}
		}
	})
}

// load runs the loader, for at most LoadTimeout, and applies what it adjusted.
func (c *Cache[V]) load(ctx context.Context, key string, load Loader[V], set *settings) (r result[V], cost time.Duration, err error) {
	adjust := &adjustment{Context: ctx}
	r.until = time.Now()
	r.value, err = guard(c, adjust, func(ctx context.Context) (V, error) { return load(ctx, key) })
	cost = time.Since(r.until)
	if err == nil {
		err = adjust.apply(set)
	}
	return r, cost, err
}

// spawn runs a flight.
func (s *store) spawn(ctx context.Context, run func()) {
	labelled := func(context.Context) {
		pprof.SetGoroutineLabels(ctx) // the first caller's
		run()
	}
	if !s.core.Group().Go(s.flightName, labelled) {
		go run() // the client is closed, which it will find out
	}
}

// guard runs what loads: on a goroutine of its own, so that one that does not look at its context delays
// nobody beyond LoadTimeout.
func guard[V, T any](c *Cache[V], adjust *adjustment, load func(ctx context.Context) (T, error)) (value T, err error) {
	ctx, cancel := context.WithTimeoutCause(adjust, c.opt.LoadTimeout, ErrLoadTimeout)
	defer cancel()
	began := time.Now()
	type answer struct {
		value    T
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
		pprof.SetGoroutineLabels(ctx)
		a.value, a.err = load(ctx)
	}
	if !c.core.Group().Go(c.loadName, run) {
		return value, errClosed
	}
	var a answer
	select {
	case a = <-done:
	case <-ctx.Done():
		a.err = context.Cause(ctx)
	}
	c.count.add(cLoads, 1)
	c.count.add(cLoadNanos, int64(time.Since(began)))
	if a.panicked != nil {
		c.count.add(cLoadErrors, 1)
		panic(a.panicked)
	}
	if a.err == nil || errors.Is(a.err, ErrNotFound) {
		return a.value, a.err
	}
	c.count.add(cLoadErrors, 1)
	if ctx.Err() != nil && context.Cause(ctx) == ErrLoadTimeout { //nolint:errorlint // the very one that we gave
		// Not with %w: the deadline was ours, no caller's (A1).
		return a.value, fmt.Errorf("%w: no value within %v: %v", ErrLoadTimeout, c.opt.LoadTimeout, a.err)
	}
	return a.value, a.err
}
