package cache

import (
	"context"
	"errors"
	"time"
)

// next is the next step of an item.
type next uint8

const (
	doNothing next = iota // it is finished
	doLoad
	doWait
	doAsk
)

// answer takes the answer to a request that was sent at the time asked.
func (j *job[V]) answer(ctx context.Context, item *item[V], a *ask, asked time.Time) next {
	c := j.cache
	if a.mayHold {
		c.releaseLater(release{key: item.key, names: item.names[:], token: a.token})
	}
	switch a.answer {
	case leaseFailed:
		if j.calling && ctx.Err() != nil {
			return doAsk // repeat it without this caller
		}
		c.count.add(cErrors, 1)
		if j.refresh || ctx.Err() != nil {
			item.finish(result[V]{}, a.err)
			return doNothing
		}
		if !wrongType(a.err) { // takeChunk has removed the key of the wrong type
			c.degraded(ctx, policyLoad, a.err)
		}
		item.offline, item.down = true, a.err
		return doLoad
	case leaseHeldDown:
		if j.refresh {
			item.finish(result[V]{}, errBusy)
			return doNothing
		}
		return doLoad
	case leaseGranted:
		if item.optimistic {
			c.absence.saw(!a.foreign)
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

// wait registers an item with the waiters, which a push wakes. The job then reads the lease again:
// a push that came before the registration is not missed.
func (j *job[V]) wait(item *item[V]) {
	if item.waiting {
		return
	}
	if j.wake == nil {
		j.wake = make(chan struct{}, 1)
		j.giveUp = j.cache.core.Time().Now().Add(j.cache.leaseTTL())
	}
	item.waiting = true
	j.cache.waiters.add(item.key, j.wake)
	j.cache.count.add(cWaits, 1)
}

// shareOutcome gives the outcome of another process's load to the callers.
func (j *job[V]) shareOutcome(item *item[V], a *ask) next {
	item.follows = false
	if a.outcome[0] == outcomeUnstorable {
		return doLoad // without a lease
	}
	item.finish(result[V]{sharers: sharers{earlierCalls, item.held}, missing: a.outcome[0] == outcomeNotFound},
		outcomeError(a.outcome, j.cache.opt.LoadTimeout))
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
	if item.optimistic {
		c.absence.saw(false)
	}
	switch {
	case err != nil && j.calling && ctx.Err() != nil:
		return doAsk // repeat it without this caller
	case err != nil:
		c.degraded(ctx, policyLoad, err)
		item.offline, item.down = true, err
		return doLoad
	case e.state == fresh, e.state == stale: // a stale one was stored just now, with a TTL shorter than the wait
		item.finish(result[V]{value: e.value, encoded: e.encoded(), sharers: sharers{earlierCalls, asked}, state: e.state,
			head: e.head}, nil)
		return doNothing
	case e.state == negative:
		item.finish(result[V]{sharers: sharers{earlierCalls, asked}, missing: true, state: negative}, ErrNotFound)
		return doNothing
	}
	item.seen = rejectedHead(rejected, e.head)
	if !item.follows && a.mayHold { // the background releases this lease: wait for its push
		item.follows, item.holder, item.held = true, a.token, asked
		j.wait(item)
	}
	return doAsk
}

// rejectedHead returns the value of ask.seen for an entry that can't be used.
func rejectedHead(s state, head string) string {
	if s == rejected {
		return "=" + head
	}
	return ""
}

var errBusy = errors.New("cache: another load of this key is running")
