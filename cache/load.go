package cache

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"runtime/pprof"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/internal/flight"
)

// wanted is a key that is to be loaded.
type wanted struct {
	key     string
	seen    string // as ask's
	offline bool   // its server does not answer: no lease, nothing stored
	down    error  // then: what the server did instead
	unread  bool   // its value was not read: see absence
}

// claim is a part in the in-flight load of a key.
type claim[V any] = *flight.Claim[string, result[V]]

// job loads keys together, each under an in-flight load and a lease of its own; a single key is a job of one. The states of
// its items are those of docs/design/0020-cache-protocol.md.
type job[V any] struct {
	cache   *Cache[V]
	source  source[V]
	set     settings
	items   []*item[V]
	refresh bool          // a value is served in the meantime: what another process loads is left alone
	wake    chan struct{} // made when the first item waits
	giveUp  time.Time     // the end of the wait for the loads of other processes

	first item[V] // of items: most jobs have one
	one   [1]*item[V]
}

type item[V any] struct {
	wanted
	claim   claim[V]
	names   [3]string // of value, lease and outcome, once it has asked
	asks    ask       // what it asks, and the answer
	token   string    // of the lease that is held; "" for none
	others  []string  // entries of other Versions that the value had when the lease was granted
	follows bool      // waits for a load of another process, or did
	holder  string    // the token of its lease
	held    time.Time // the holder had its lease at this time or later
	waiting bool      // registered with the waiters
	ticket  ticket    // of a load without the server
	done    bool
}

func (i *item[V]) finish(r result[V], err error) {
	i.done = true
	i.claim.Finish(r, err)
}

// begin takes part in the in-flight loads of keys, and starts those that are missing in the background. A nil claim means that
// the cache is closed.
func (c *Cache[V]) begin(ctx context.Context, want []wanted, source source[V], set settings) []claim[V] {
	claims := make([]claim[V], len(want))
	j := &job[V]{cache: c, source: source, set: set}
	for i, w := range want {
		claim, begun := c.flights.Join(ctx, w.key, set.detached)
		claims[i] = claim
		if begun {
			j.add(w, claim)
		}
	}
	j.start(ctx)
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
}

// start runs the job on a goroutine of its own.
func (j *job[V]) start(ctx context.Context) {
	if len(j.items) == 0 {
		return
	}
	c := j.cache
	run := func(context.Context) {
		ctx, cancel := j.context(ctx)
		defer cancel(nil)
		pprof.SetGoroutineLabels(ctx) // the first caller's
		j.run(ctx)
	}
	if !c.life.group.Go(c.flightName, run) {
		for _, item := range j.items {
			item.finish(result[V]{}, errClosed)
		}
	}
}

// context has the values of the first caller's, and lasts while anyone waits for any of the keys (C9).
func (j *job[V]) context(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	if len(j.items) == 1 {
		return j.items[0].claim.Context(), func(error) {}
	}
	return j.contextOfAll(ctx)
}

func (j *job[V]) contextOfAll(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	var open atomic.Int64
	open.Store(int64(len(j.items)))
	for _, item := range j.items {
		context.AfterFunc(item.claim.Context(), func() {
			if open.Add(-1) == 0 {
				cancel(context.Cause(item.claim.Context()))
			}
		})
	}
	return ctx, cancel
}

// run finishes every item, whatever happens.
func (j *job[V]) run(ctx context.Context) {
	defer func() { j.end(ctx, recover()) }()
	c := j.cache
	pause := patience{tracked: c.core.Capabilities().Tracking}
	for open := j.items; len(open) > 0; {
		mine, busy, left := j.lease(ctx, open)
		if len(mine) > 0 {
			j.loadAndStore(ctx, mine)
		}
		if len(busy) == 0 {
			return
		}

		bound := time.Until(j.giveUp)
		if bound <= 0 {
			j.finishAll(busy, fmt.Errorf("%w: another process has not loaded it within %v", ErrLoadTimeout, c.opt.LoadTimeout))
			return
		}
		if !sleep(ctx, j.wake, min(pause.step(left), bound)) {
			j.finishAll(busy, ended(ctx))
			return
		}
		open = busy
	}
}

func (j *job[V]) finishAll(items []*item[V], err error) {
	for _, item := range items {
		item.finish(result[V]{}, err)
	}
}

// end releases what a panic, or Goexit, has left behind.
func (j *job[V]) end(ctx context.Context, panicked any) {
	c := j.cache
	var err error = flight.ErrGoexit
	switch p := panicked.(type) {
	case nil:
	case *flight.PanicError: // passed on from the loader's goroutine, with its stack
		err = p
	default:
		err = &flight.PanicError{Value: p, Stack: debug.Stack()}
	}
	if p, ok := err.(*flight.PanicError); ok && j.refresh { // made above. No caller waits for a refresh
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
}

// lease requests the leases of all open items, and looks at those that are waited for. mine are to be loaded, busy to be waited for;
// left is the shortest time that their leases last.
func (j *job[V]) lease(ctx context.Context, open []*item[V]) (mine, busy []*item[V], left time.Duration) {
	for len(open) > 0 {
		var again []*item[V]
		var take, look []*ask
		var taking, looking []*item[V]
		for _, item := range open {
			switch {
			case item.offline:
				mine = append(mine, item)
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
			a := append(take, look...)[i]
			first := !item.follows
			switch j.answer(ctx, item, a, asked) {
			case doLoad:
				mine = append(mine, item)
			case doWait:
				if first { // look at it once more: what it reads is tracked, and the push wakes us
					again = append(again, item)
					continue
				}
				busy = append(busy, item)
				if left == 0 || a.left < left {
					left = a.left
				}
			case doAsk:
				again = append(again, item)
			}
		}
		open = again
	}
	return mine, busy, left
}

func (j *job[V]) ask(item *item[V]) *ask {
	if item.names[0] == "" {
		item.names = j.cache.names(item.key)
	}
	item.asks = ask{key: item.key, token: newToken(), names: item.names[:], seen: item.seen, holder: item.holder}
	return &item.asks
}

// next is what is to be done with an item.
type next uint8

const (
	doNothing next = iota // it is finished
	doLoad
	doWait
	doAsk
)

// answer takes the answer to what was asked at that time.
func (j *job[V]) answer(ctx context.Context, item *item[V], a *ask, asked time.Time) next {
	c := j.cache
	if a.holds {
		c.releaseLater(release{key: item.key, names: item.names[:], token: a.token})
	}
	switch a.answer {
	case leaseFailed:
		c.count.add(cErrors, 1)
		if j.refresh || ctx.Err() != nil {
			item.finish(result[V]{}, a.err)
			return doNothing
		}
		if !wrongType(a.err) { // takeChunk has repaired that
			c.degraded(ctx, policyLoad, a.err)
		}
		item.offline = true
		return doLoad
	case leaseHeldDown:
		if j.refresh {
			item.finish(result[V]{}, errBusy)
			return doNothing
		}
		return doLoad
	case leaseGranted:
		if item.unread {
			c.absence.saw(!a.alien)
		}
		item.token, item.others = a.token, c.others(a.refused)
		return doLoad
	case leaseBusy:
		if j.refresh {
			item.finish(result[V]{}, errBusy)
			return doNothing
		}
		item.follows, item.holder, item.held = true, a.holder, asked
		j.wait(item)
		return doWait
	case leaseEnded:
		return j.shareOutcome(item, a)
	case leaseFree:
		item.follows = false
		return doAsk
	}
	return j.found(ctx, item, a, asked)
}

// wait registers an item with those that a push wakes. It comes before the look whose answer may be "wait", so that a push which
// overtakes the answer is not missed.
func (j *job[V]) wait(item *item[V]) {
	if item.waiting {
		return
	}
	if j.wake == nil {
		j.wake = make(chan struct{}, 1)
		j.giveUp = time.Now().Add(j.cache.leaseTTL())
	}
	item.waiting = true
	j.cache.waiters.add(item.key, j.wake)
	j.cache.count.add(cWaits, 1)
}

// shareOutcome takes over how the load ended that was waited for.
func (j *job[V]) shareOutcome(item *item[V], a *ask) next {
	item.follows = false
	if a.outcome[0] == outcomeUnstorable {
		return doLoad // with no lease
	}
	item.finish(result[V]{validUntil: item.held, missing: a.outcome[0] == outcomeNotFound}, outcomeError(a.outcome, j.cache.opt.LoadTimeout))
	return doNothing
}

// found takes a value that came with the answer.
func (j *job[V]) found(ctx context.Context, item *item[V], a *ask, asked time.Time) next {
	c := j.cache
	if j.refresh {
		item.finish(result[V]{}, errBusy)
		return doNothing
	}
	clear, err := c.clearNow(ctx)
	var e found[V]
	if err == nil {
		e, err = c.resolve(ctx, a.data, clear)
	}
	if item.unread {
		c.absence.saw(false)
	}
	switch {
	case err != nil:
		c.degraded(ctx, policyLoad, err)
		item.offline = true
		return doLoad
	case e.state == fresh, e.state == stale: // stale, and not unread: just stored, with a TTL shorter than our wait
		item.finish(result[V]{value: e.value, encoded: e.encoded(), validUntil: asked, state: e.state, head: e.head}, nil)
		return doNothing
	case e.state == negative:
		item.finish(result[V]{validUntil: asked, missing: true, state: negative}, ErrNotFound)
		return doNothing
	}
	item.seen = rejectedHead(rejected, e.head)
	if !item.follows && a.holds { // what is being released is free in a moment: wait for it
		item.follows, item.holder, item.held = true, a.token, asked
		j.wait(item)
	}
	return doAsk
}

// rejectedHead is how a request for a lease learns of an entry that is there but of no use.
func rejectedHead(s state, head string) string {
	if s == rejected {
		return "=" + head
	}
	return ""
}

var errBusy = errors.New("cache: another load is under way")
