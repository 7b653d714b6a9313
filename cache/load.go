package cache

import (
	"context"
	"fmt"
	"runtime/debug"
	"runtime/pprof"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/internal/flight"
)

// wanted is a key to load.
type wanted struct {
	key        string
	seen       string // see ask.seen
	offline    bool   // its server can't be reached: the load has no lease and stores nothing
	down       error  // the error of that server
	optimistic bool   // the lease request comes before any read: see absence
}

// claim is one caller's part in the in-flight load of a key.
type claim[V any] = *flight.Claim[string, result[V]]

// job loads keys together. Each key has an in-flight load and a lease of its own; a single key is a
// job of one. Note 0020 lists the states of an item.
type job[V any] struct {
	cache   *Cache[V]
	source  source[V]
	set     settings
	refresh bool          // callers get a stored value in the meantime, so a busy lease ends the job
	cancel  func()        // ends the context of a job of several keys
	wake    chan struct{} // created when the first item waits
	giveUp  time.Time     // end of the wait for loads of other processes

	items   []*item[V]
	todo    todo[V]
	calling bool // the job runs on the goroutine of its first caller, under the caller's context

	first item[V] // the first of items: most jobs have only one
	one   [1]*item[V]
}

// todo lists the items that are not finished, by their next step.
type todo[V any] struct {
	ask, load, wait []*item[V]
	left            time.Duration // shortest remaining time of the leases of wait
}

type item[V any] struct {
	wanted
	claim   claim[V]
	names   [3]string // of value, lease and outcome; set by the first request
	asks    ask       // the last request and its answer
	token   string    // of the lease that this load holds; "" for none
	others  []string  // entries of other Versions, read when the lease was granted
	follows bool      // waits, or has waited, for a load of another process
	holder  string    // token of the lease of that load
	held    time.Time // a time at which the holder had its lease
	waiting bool      // registered with the waiters
	ticket  ticket    // reservation in the near cache, of a load without the server
	done    bool
}

func (i *item[V]) finish(r result[V], err error) {
	i.done = true
	i.claim.Finish(r, err)
}

// begin joins the in-flight loads of keys, and starts those that are missing. A nil claim means
// that the cache is closed.
func (c *Cache[V]) begin(ctx context.Context, want []wanted, source source[V], set settings) []claim[V] {
	c.points.Hold("join", want[0].key)
	claims := make([]claim[V], len(want))
	j := &job[V]{cache: c, source: source, set: set}
	for i, w := range want {
		claim, begun := c.flights.Join(ctx, w.key, set.detached)
		claims[i] = claim
		if begun {
			j.add(w, claim)
		}
	}
	j.call(ctx)
	return claims
}

func (j *job[V]) add(w wanted, claim claim[V]) {
	it := &j.first
	if len(j.items) > 0 {
		it = new(item[V])
	} else {
		j.items = j.one[:0]
	}
	it.wanted, it.claim = w, claim
	j.items = append(j.items, it)
	j.todo.ask = j.items
}

// call requests the leases on the caller's goroutine and continues in the background. The caller
// waits for the answer in any case, and each handover between goroutines can wake a thread.
//
// If the caller's context ends during the request, the background repeats it for callers that have
// joined.
func (j *job[V]) call(ctx context.Context) {
	if len(j.items) == 0 {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			j.end(ctx, p)
		}
	}()
	j.calling = true
	j.lease(ctx)
	j.calling = false
	if len(j.todo.ask)+len(j.todo.load)+len(j.todo.wait) > 0 {
		j.start(ctx)
	}
}

// start continues the job on a goroutine of its own.
func (j *job[V]) start(ctx context.Context) {
	if len(j.items) == 0 {
		return
	}
	c := j.cache
	run := func(context.Context) {
		ctx := j.context(ctx)
		pprof.SetGoroutineLabels(ctx) // the first caller's
		j.run(ctx, nil)
	}
	if !c.life.group.Work(c.loadName, run) {
		j.end(ctx, errClosed)
	}
}

// context returns the context of the job. It carries the values of the first caller's context, and
// ends when no caller waits for any of the keys (C9).
func (j *job[V]) context(ctx context.Context) context.Context {
	if len(j.items) == 1 {
		return j.items[0].claim.Context()
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	j.cancel = func() { cancel(nil) }
	var open atomic.Int64
	open.Store(int64(len(j.items)))
	for _, item := range j.items {
		context.AfterFunc(item.claim.Context(), func() {
			if open.Add(-1) == 0 {
				cancel(context.Cause(item.claim.Context()))
			}
		})
	}
	return ctx
}

// run continues the job until every item is finished. It starts with next, if that is not nil.
func (j *job[V]) run(ctx context.Context, next func()) {
	gone := false // another goroutine continues the job
	defer func() {
		if p := recover(); !gone {
			j.end(ctx, p)
		}
	}()
	if next != nil {
		next()
	}
	c := j.cache
	pause := patience{tracked: c.core.Capabilities().Tracking}
	for {
		for len(j.todo.ask) > 0 {
			j.lease(ctx)
		}
		mine := j.kept(j.todo.load)
		j.todo.load = nil
		if len(mine) > 0 {
			if j.loadAndStore(ctx, mine, &gone); gone {
				return
			}
		}
		busy := j.todo.wait
		if len(busy) == 0 {
			return
		}

		bound := c.core.Time().Until(j.giveUp)
		if bound <= 0 {
			j.finishAll(busy, fmt.Errorf("%w: another process has not loaded it within %v", ErrLoadTimeout, c.opt.LoadTimeout))
			return
		}
		if !sleep(ctx, j.wake, min(pause.step(j.todo.left), bound)) {
			j.finishAll(busy, ended(ctx))
			return
		}
		j.todo = todo[V]{ask: busy}
	}
}

func (j *job[V]) finishAll(items []*item[V], err error) {
	for _, item := range items {
		item.finish(result[V]{}, err)
	}
}

// end finishes the items that a panic, runtime.Goexit or an error has left, and releases their
// leases.
func (j *job[V]) end(ctx context.Context, failed any) {
	c := j.cache
	var err error
	switch p := failed.(type) {
	case nil:
		err = flight.ErrGoexit
	case *flight.PanicError: // of the loader, with its stack
		err = p
	case error:
		if err = p; p != errClosed {
			err = &flight.PanicError{Value: p, Stack: debug.Stack()}
		}
	default:
		err = &flight.PanicError{Value: p, Stack: debug.Stack()}
	}
	if p, ok := err.(*flight.PanicError); ok && j.refresh { // no caller waits for it
		err = fmt.Errorf("panic in a load: %v", p.Value)
		j.refreshFailed(ctx, err)
	}

	var held []release
	for _, item := range j.items {
		if item.waiting {
			c.waiters.remove(item.key, j.wake)
		}
		if item.ticket.at != nil {
			c.near.commit(item.key, item.ticket, nil, answered{})
		}
		if !item.done && item.token != "" {
			held = append(held, release{key: item.key, names: item.names[:], token: item.token})
		}
	}
	c.release(ctx, held)
	for _, item := range j.items {
		if !item.done {
			item.finish(result[V]{}, err)
		}
	}
	if j.cancel != nil {
		j.cancel()
	}
}

// lease requests the leases of the items in todo.ask. For items that wait for another process, it
// reads the lease of that process.
func (j *job[V]) lease(ctx context.Context) {
	var take, look []*ask
	var taking, looking []*item[V]
	todo := &j.todo
	open := todo.ask
	todo.ask = nil
	for _, item := range open {
		switch {
		case item.offline:
			todo.load = append(todo.load, item)
		case !item.follows:
			take, taking = append(take, j.ask(item)), append(taking, item)
		default:
			look, looking = append(look, j.ask(item)), append(looking, item)
		}
	}

	j.cache.points.Hold("ask", open[0].key)
	asked := time.Now()
	j.cache.takeLeases(ctx, take)
	j.cache.look(ctx, look)
	for i, item := range append(taking, looking...) {
		a := &item.asks
		switch j.answer(ctx, item, a, asked) {
		case doLoad:
			todo.load = append(todo.load, item)
		case doWait:
			if i < len(taking) { // read the lease next: the server then tracks it, and its push wakes the job
				todo.ask = append(todo.ask, item)
				continue
			}
			todo.wait = append(todo.wait, item)
			if todo.left == 0 || a.left < todo.left {
				todo.left = a.left
			}
		case doAsk:
			todo.ask = append(todo.ask, item)
		}
	}
}

func (j *job[V]) ask(item *item[V]) *ask {
	if item.names[0] == "" {
		item.names = j.cache.names(item.key)
	}
	item.asks = ask{key: item.key, token: newToken(), names: item.names[:], seen: item.seen, holder: item.holder}
	return &item.asks
}
