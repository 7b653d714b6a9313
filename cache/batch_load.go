package cache

import (
	"context"
	"errors"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/internal/flight"
)

// wanted is a key that is to be loaded.
type wanted struct {
	key  string
	seen string // as ask's
	down bool   // its server does not answer: no lease, nothing stored

	guessed bool // not read: see guess
}

// batch loads several keys together, each with a flight and a lease of its own.
type batch[V any] struct {
	cache   *Cache[V]
	load    BatchLoader[V]
	set     settings
	items   []*batchItem[V]
	taken   []wanted // flights of others
	refresh bool     // nobody waits: what is busy is left alone
	wake    chan struct{}
}

type batchItem[V any] struct {
	wanted
	claim *flight.Claim[string, result[V]]
	pair  []string // as ask's
	token string
	done  bool
}

func (i *batchItem[V]) finish(r result[V], err error) {
	i.done = true
	i.claim.Finish(r, err)
}

// claim begins the flights of those keys that have none, and loads them in the background.
func (c *Cache[V]) claim(ctx context.Context, flights *flight.Group[string, result[V]], want []wanted, load BatchLoader[V], set settings) *batch[V] {
	b := &batch[V]{cache: c, load: load, set: set, refresh: flights == &c.refreshes, wake: make(chan struct{}, 1)}
	for _, w := range want {
		if claim := flights.Claim(ctx, w.key); claim != nil {
			b.items = append(b.items, &batchItem[V]{wanted: w, claim: claim})
		} else {
			b.taken = append(b.taken, w)
		}
	}
	if len(b.items) == 0 {
		return b
	}
	run := func(context.Context) {
		ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
		defer cancel(nil)
		// It goes on while anybody waits for any of the keys (C9).
		var open atomic.Int64
		open.Store(int64(len(b.items)))
		for _, item := range b.items {
			context.AfterFunc(item.claim.Context(), func() {
				if open.Add(-1) == 0 {
					cancel(context.Cause(item.claim.Context()))
				}
			})
		}
		b.run(ctx)
	}
	if !c.core.Group().Go("batch load of cache "+c.name, run) {
		for _, item := range b.items {
			item.finish(result[V]{}, errClosed)
		}
	}
	return b
}

// refreshMany reloads in the background what is stale, or soon will be.
func (c *Cache[V]) refreshMany(ctx context.Context, want []wanted, load BatchLoader[V], set settings) {
	want = slices.DeleteFunc(want, func(w wanted) bool { return c.heldBack(w.key) })
	if len(want) > 0 {
		c.claim(ctx, &c.refreshes, want, load, set)
	}
}

// run finishes every item, whatever happens.
func (b *batch[V]) run(ctx context.Context) {
	defer func() {
		var err error = flight.ErrGoexit
		switch p := recover().(type) {
		case nil:
		case *flight.PanicError:
			err = p
		default:
			err = &flight.PanicError{Value: p, Stack: debug.Stack()}
		}
		if p, ok := err.(*flight.PanicError); ok && b.refresh { //nolint:errorlint // made above. Nobody is there to panic in
			err = b.cache.panicked(p.Value)
			b.refreshFailed(err)
			for _, item := range b.items {
				if !item.done {
					b.cache.refreshed(ctx, item.key, err)
				}
			}
		}
		var held []*batchItem[V]
		for _, item := range b.items {
			if !item.done && item.token != "" {
				held = append(held, item)
			}
		}
		b.free(ctx, held, func(*batchItem[V]) bool { return false })
		for _, item := range b.items {
			if !item.done {
				item.finish(result[V]{}, err)
			}
		}
	}()
	c := b.cache
	if !b.refresh {
		for _, item := range b.items {
			c.waiters.addChan(item.key, b.wake)
			defer c.waiters.remove(item.key, b.wake)
		}
	}
	pause := patience{tracked: c.core.Capabilities().Tracking}
	for open, waited := b.items, false; len(open) > 0; waited = true {
		busy, granted, bare, left := b.lease(ctx, open)
		b.loadAndFill(ctx, granted, bare)
		switch {
		case len(busy) == 0:
			return
		case b.refresh:
			for _, item := range busy {
				item.finish(result[V]{}, errBusy)
			}
			return
		case !waited:
			c.count.add(cWaits, int64(len(busy)))
		}
		if !sleep(ctx, b.wake, pause.step(left)) {
			for _, item := range busy {
				item.finish(result[V]{}, ended(ctx))
			}
			return
		}
		open = busy
	}
}

func (b *batch[V]) refreshFailed(err error) {
	b.cache.core.Logger().Warn("cache: a refresh failed", "cache", b.cache.name, "keys", len(b.items), "error", err)
}

// lease asks for all open items: those that others load, with the shortest time of their leases that
// is left; those that are ours to load; and those to load without storing.
func (b *batch[V]) lease(ctx context.Context, open []*batchItem[V]) (busy, granted, bare []*batchItem[V], left time.Duration) {
	c := b.cache
	for len(open) > 0 {
		var again, asking []*batchItem[V]
		var asks []*ask
		for _, item := range open {
			if item.down {
				bare = append(bare, item)
				continue
			}
			asking = append(asking, item)
			if item.pair == nil {
				item.pair = c.pair(item.key)
			}
			asks = append(asks, &ask{key: item.key, token: newToken(), pair: item.pair, seen: item.seen})
		}
		asked := time.Now()
		c.lease(ctx, asks)
		for i, a := range asks {
			item := asking[i]
			if a.holds {
				c.freeLater(ctx, a)
			}
			switch a.answer {
			case leaseFailed:
				c.count.add(cErrors, 1)
				item.down = true
				bare = append(bare, item)
			case leaseHeldDown:
				bare = append(bare, item)
			case leaseGranted:
				item.token = a.token
				granted = append(granted, item)
			case leaseBusy:
				busy = append(busy, item)
				if left == 0 || a.left < left {
					left = a.left
				}
			case leaseValue:
				if !b.found(ctx, item, a.data, asked) {
					again = append(again, item)
				}
			}
		}
		open = again
	}
	return busy, granted, bare, left
}

// found takes a value that came with the answer to a lease that was asked for then, and reports whether it is of use.
func (b *batch[V]) found(ctx context.Context, item *batchItem[V], data string, asked time.Time) bool {
	c := b.cache
	clear, err := c.clearNow(ctx)
	var e found[V]
	if err == nil {
		e, err = c.resolve(ctx, data, clear)
	}
	switch {
	case err != nil:
		item.down = true
		return false
	case e.state == fresh, e.state == stale:
		item.finish(result[V]{value: e.value, payload: e.payload, until: asked}, nil)
	case e.state == negative:
		item.finish(result[V]{until: asked}, ErrNotFound)
	default:
		item.seen = rejectedHead(e.state, e.head)
		return false
	}
	return true
}

// loadAndFill calls the loader once, for the items that were granted and those that won't be stored.
func (b *batch[V]) loadAndFill(ctx context.Context, granted, bare []*batchItem[V]) {
	c := b.cache
	all := append(granted[:len(granted):len(granted)], bare...)
	if len(all) == 0 {
		return
	}
	if b.refresh {
		c.count.add(cRefreshes, int64(len(granted)))
		for _, item := range bare {
			item.finish(result[V]{}, errBusy)
		}
		if all = granted; len(all) == 0 {
			return
		}
	}
	set := b.set
	var st stamps
	var stampErr error
	if len(granted) > 0 {
		st, stampErr = c.stamp(ctx, &set)
	}
	keys := make([]string, len(all))
	for i, item := range all {
		keys[i] = item.key
	}
	adjust := &adjustment{Context: ctx}
	began := time.Now()
	values, err := guard(c, adjust, func(ctx context.Context) (map[string]V, error) { return b.load(ctx, keys) })
	cost := time.Since(began)
	if errors.Is(err, ErrNotFound) {
		values, err = nil, nil // none of them
	}
	if err == nil {
		err = adjust.apply(&set)
	}
	if b.refresh {
		for _, item := range all {
			c.refreshed(ctx, item.key, err)
		}
		if err != nil {
			b.refreshFailed(err)
		}
	}
	ok := err == nil && stampErr == nil
	overtaken := false
	if ok && len(granted) > 0 {
		var lateErr error
		if ok, lateErr = c.late(ctx, &st, &set); lateErr != nil {
			c.count.add(cErrors, 1)
		}
		overtaken = !ok && lateErr == nil
	}
	outcome := func(item *batchItem[V]) (result[V], error) {
		v, there := values[item.key]
		switch {
		case err != nil:
			return result[V]{until: began}, err
		case !there:
			return result[V]{until: began}, ErrNotFound
		}
		return result[V]{value: v, until: began}, nil
	}
	if len(granted) > 0 {
		if ok {
			b.fill(ctx, granted, &st, &set, cost, outcome)
		} else {
			confirmed := b.free(ctx, granted, func(*batchItem[V]) bool { return false })
			for i, item := range granted {
				r, err := outcome(item)
				if !overtaken {
					r.confirm(confirmed[i])
				}
				item.finish(r, err)
			}
		}
	}
	for _, item := range all {
		if !item.done {
			r, err := outcome(item)
			if item.down {
				r.until = time.Time{}
			}
			item.finish(r, err)
		}
	}
}
