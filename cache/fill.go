package cache

import (
	"context"
	"encoding/hex"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/script"
)

// result is the result of an in-flight load.
type result[V any] struct {
	value   V
	encoded encoded // other callers get their copies from it
	missing bool    // the source has no value
	state   state   // of an entry that the load found on the server
	head    string
	sharers sharers
}

// sharers are the calls that may share a result.
type sharers struct {
	who callers
	// until is the time of the request that returned a value, or the begin of the load. After the
	// server has confirmed that nothing overtook the load, it is the time of that confirmation's
	// request.
	until time.Time
}

type callers uint8

const (
	everyCall    callers = iota // the result is an error, without an answer of the source
	earlierCalls                // calls that began at or before until
	offlineCalls                // earlier calls, and all calls that can't reach the server either
)

// include reports whether a call that began at this time may share the result. With offline, the
// call could not reach the server.
func (s sharers) include(began time.Time, offline bool) bool {
	return s.who == everyCall || s.who == offlineCalls && offline || !began.After(s.until)
}

// attempt is one run of the source for items of a job. It also says whether the result may be
// stored.
type attempt[V any] struct {
	items   []*item[V]
	set     settings // of the call, and of Adjust
	adjust  adjustment
	st      stamps
	failed  error // error of the server before or after the load
	began   time.Time
	offline *generation // see reserveOffline

	answers []answer[V]
	cost    time.Duration
	results []result[V]

	storable  bool // items with a lease may store
	overtaken bool // an InvalidateTags may have returned since the load began
	certain   bool // other processes that wait may share the outcome
}

// loadAndStore loads items, stores the results of items with a lease, and finishes all of them. It
// sets gone if another goroutine continues the job.
func (j *job[V]) loadAndStore(ctx context.Context, items []*item[V], gone *bool) {
	a := j.attempt(ctx, items)
	keys := make([]string, len(items))
	for i, item := range items {
		keys[i] = item.key
	}
	o := j.cache.callSource(ctx, j.source, keys, &a.adjust, gone, func(o outcome[V]) {
		j.run(ctx, func() { j.loaded(ctx, a, o) })
	})
	if !*gone {
		j.loaded(ctx, a, o)
	}
}

// loaded takes the outcome of an attempt.
func (j *job[V]) loaded(ctx context.Context, a *attempt[V], o outcome[V]) {
	if o.panicked != nil {
		panic(o.panicked)
	}
	c, items := j.cache, a.items
	j.check(ctx, a, o)

	var fills []fill[V]
	var releases []release
	var released []int
	for i, item := range items {
		got := &a.answers[i]
		entry, ok := c.entryFor(&a.results[i], got, &a.set, &a.st, a.cost, a.storable && item.token != "")
		switch {
		case item.token == "": // without a lease, nothing is stored
			j.keepOffline(item, &a.results[i], got.err, &a.set, a.offline)
		case ok:
			fills = append(fills, fill[V]{item: item, at: i, entry: entry})
		default:
			r := release{key: item.key, names: item.names[:], token: item.token, drop: got.missing}
			if a.certain && ctx.Err() == nil {
				r.outcome = outcomeOf(got.missing, got.err)
			}
			releases, released = append(releases, r), append(released, i)
		}
	}

	j.store(ctx, fills, a.results, &a.st)
	asked, held := c.release(ctx, releases)
	for k := range held {
		if !a.overtaken && held[k] {
			a.results[released[k]].sharers.until = asked
		}
		items[released[k]].token = ""
	}
	for i, item := range items {
		if !item.done {
			item.finish(a.results[i], a.answers[i].err)
		}
	}
}

// attempt reads the generations that are valid before the load.
func (j *job[V]) attempt(ctx context.Context, items []*item[V]) *attempt[V] {
	c := j.cache
	a := &attempt[V]{items: items, set: j.set, offline: j.reserveOffline(items)}
	leased := a.leased()
	if leased > 0 {
		a.st, a.failed = c.stamp(ctx, &a.set)
	}
	if j.refresh {
		c.count.add(cRefreshes, int64(leased))
	}
	a.began = time.Now()
	return a
}

// leased returns the number of items with a lease.
func (a *attempt[V]) leased() (n int) {
	for _, item := range a.items {
		if item.token != "" {
			n++
		}
	}
	return n
}

// check decides which results may be stored.
func (j *job[V]) check(ctx context.Context, a *attempt[V], o outcome[V]) {
	c := j.cache
	a.cost = time.Since(a.began)
	a.answers = o.answers
	err := o.err
	if err == nil {
		if err = a.adjust.apply(&a.set); err != nil {
			a.answers = failedAnswers[V](len(a.items), err)
		}
	}
	if j.refresh {
		j.refreshed(ctx, a.items, a.answers, err)
	}
	a.results = make([]result[V], len(a.items))
	for i, item := range a.items {
		got := &a.answers[i]
		a.results[i] = result[V]{value: got.value, missing: got.missing, sharers: sharers{earlierCalls, a.began}}
		if item.offline {
			a.results[i].sharers.who = offlineCalls
		}
	}

	if a.failed == nil && err == nil && a.leased() > 0 && !a.set.dontStore {
		a.storable, a.failed = c.late(ctx, &a.st, &a.set)
		a.overtaken = !a.storable && a.failed == nil
	}
	if a.failed != nil {
		c.count.add(cErrors, 1)
	}
	a.certain = a.failed == nil && !a.overtaken
}

// entryFor encodes a result, for the server and for the callers that share it. ok means: store it.
func (c *Cache[V]) entryFor(r *result[V], a *answer[V], set *settings, st *stamps, cost time.Duration,
	storable bool) (entry sealed, ok bool) {
	switch {
	case a.missing:
		if !storable || set.negativeTTL == 0 {
			return entry, false
		}
		return c.encodeNegative(set, st), true
	case a.err != nil:
		return entry, false
	case !storable:
		return entry, false
	}
	entry, err := c.encode(&a.value, set, st, cost, false)
	if err == nil {
		err = c.survives(entry.payload)
	}
	if err != nil {
		r.encoded = encoded{unusable: entry.payload == ""}
		c.notStored(err)
		return entry, false
	}
	r.encoded = encoded{payload: entry.payload, known: true}
	return entry, true
}

// fill is an entry that is stored under the lease of an item.
type fill[V any] struct {
	item   *item[V]
	at     int // index in the results
	entry  sealed
	ticket ticket
}

// store stores results on the server and in the near cache.
func (j *job[V]) store(ctx context.Context, fills []fill[V], results []result[V], st *stamps) {
	c := j.cache
	nearby, track := c.nearby(), ""
	if nearby {
		track = "1"
	}
	for begin, end := range partsOf(len(fills), func(i int) int { return len(fills[i].entry.data) }) {
		part := fills[begin:end]
		calls := make([]core.Call, len(part))
		for i := range part {
			f := &part[i]
			c.addOthers(&f.entry, f.item.others)
			call := core.Call{Keys: f.item.names[:2], Args: []string{f.item.token, f.entry.data, millis(f.entry.ttl), track}}
			calls[i] = c.storing(f.item.key, call, 1)
			if nearby {
				f.ticket = c.near.reserve(f.item.key)
			}
		}
		sent := time.Now()
		for i, reply := range c.evalAll(ctx, fillScript, calls, nearby) {
			c.filled(&part[i], reply, &results[part[i].at], st, sent)
		}
		c.points.Hold("filled", part[0].item.key)
	}
}

// filled takes the server's answer to one fill.
func (c *Cache[V]) filled(f *fill[V], reply core.Result, r *result[V], st *stamps, sent time.Time) {
	key := f.item.key
	var kept *nearEntry[V]
	msg, err := reply.Get()
	switch {
	case err != nil:
		c.count.add(cErrors, 1)
		c.releaseLater(release{key: key, names: f.item.names[:], token: f.item.token})
		if c.near != nil {
			// The entry may be stored, and the server does not push a change to the connection that
			// made it.
			c.near.invalidate(key)
		}
	case !isOne(msg):
		c.count.add(cLeaseLost, 1)
	default:
		r.sharers.until = sent
		if c.nearby() {
			e := found[V]{state: fresh, head: head(f.entry.data), value: r.value, payload: f.entry.payload,
				header: f.entry.header, clear: st.clear, tags: st.generations}
			if f.entry.header.flags&flagNegative != 0 {
				e.state = negative
			}
			kept = c.nearEntry(key, &e)
		}
	}
	f.item.token = ""
	c.announce(key, f.item.names[:])
	if f.ticket.at != nil {
		c.near.commit(key, f.ticket, kept, answered{err == nil, ""})
	}
}

// longValue is the size in bytes from which a value is sent with SET to a key of its own, which the
// script renames. Redis copies an argument of a script into Lua, and from there into the value. A
// script that stored 4 KiB took the server 8.5 µs, and SET and RENAME took 5.2 µs. With 1 MiB, they
// took 2 ms and 0.2 ms. With 1 KiB there is no difference.
const longValue = 4 << 10

// longTTL bounds the time for which a value stays in its own key if the script does not run. The
// TTL of the value is too short for this: it could end before the script begins.
const longTTL = time.Minute

// storing prepares a call of set.lua or fill.lua. Argument at is the value.
func (s *store) storing(key string, call core.Call, at int) core.Call {
	value := call.Args[at]
	if len(value) < longValue {
		return call
	}
	own := s.space.Sibling(key, longSuffix+hex.EncodeToString([]byte(newToken())))
	call.Before = core.Write("SET", own, value, "PX", millis(longTTL))
	call.Keys = append(call.Keys[:len(call.Keys):len(call.Keys)], own)
	call.Args[at] = ""
	return call
}

// evalAll runs a script for many calls: one round trip per node.
func (s *store) evalAll(ctx context.Context, script *script.Script, calls []core.Call, tracked bool) []core.Result {
	if tracked {
		return s.core.EvalMultiTracked(ctx, script, calls)
	}
	return s.core.EvalMulti(ctx, script, calls)
}

func isOne(msg core.Reply) bool {
	n, err := msg.AsInt64()
	return err == nil && n == 1
}

// announce wakes the other callers of this process after a fill or a release: the server pushes
// nothing to the connection that made the change.
func (c *Cache[V]) announce(key string, names []string) {
	c.waiters.wake(key)
	c.core.Hub().Announce(names[0], c.tracker)
}
