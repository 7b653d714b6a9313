package lock

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/core"
)

const (
	unconfirmedRetry   = 50 * time.Millisecond  // after the first release without a final answer; doubled up to
	unconfirmedSlowest = 250 * time.Millisecond // this after no answer
	unconfirmedPatient = 3200 * time.Millisecond
	arrival            = 3 * time.Second // how long an acquire without an answer may still arrive
	unconfirmedMax     = 100_000
	unconfirmedFlights = 8 // batches on their way at once
)

// unconfirmed releases, in the background, what an id holds or may yet come to hold on the server without a Lock here:
// acquires without an answer, releases without one, places in queues. It runs one goroutine, and only while there is
// something to release.
type unconfirmed struct {
	locker *Locker
	wake   chan struct{}

	mu      sync.Mutex
	list    []*unconfirmedLock
	running bool
	flight  int
}

// unconfirmedState is what is known of an unconfirmed lock.
//
//	state     | it was ours | no answer                  | "nothing there"                        | lease over
//	arriving  | → settled   | stays, asks again          | stays until arrival is over, then      | → settled
//	          |             |                            | → settled                              |
//	standing  | → settled   | stays, asks again          | → settled                              | → settled
//	settled   | removed
type unconfirmedState int8

const (
	arriving unconfirmedState = iota // its acquire may reach the server yet
	standing                         // the server knew it
	settled                          // there is nothing to release any more
)

type unconfirmedLock struct {
	call    core.Call
	family  *family
	state   unconfirmedState
	began   time.Duration
	lapses  time.Duration // its lease is over in any case
	next    time.Duration // when to ask
	tries   int
	sending bool
}

func newUnconfirmed(l *Locker) *unconfirmed {
	return &unconfirmed{locker: l, wake: make(chan struct{}, 1)}
}

// add has what a lease's id has of its target released. A token of 0 says that it is not known whether it has anything.
func (u *unconfirmed) add(ls *lease) {
	l := u.locker
	state := arriving
	if ls.token > 0 {
		state = standing
	}
	now := l.clock().mono
	u.mu.Lock()
	for _, part := range ls.target.each() {
		if len(u.list) >= unconfirmedMax {
			break // it lapses with its lease
		}
		u.list = append(u.list, &unconfirmedLock{
			call: l.releaseCall(part, ls.id, ls.token), family: part.family, state: state,
			began: now, lapses: now + ls.terms.ttl + arrival, next: now,
		})
	}
	if !u.running {
		// At once, and before the caller returns: the request goes out behind the one that it undoes.
		u.running = l.core.Group().Go("release of unconfirmed locks", u.run)
	}
	u.mu.Unlock()
	u.poke()
}

func (u *unconfirmed) poke() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

func (u *unconfirmed) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-u.wake:
		}
		wait, idle := u.look()
		if idle {
			return
		}
		timer.Reset(wait)
	}
}

// look sends what is due, in batches, and says how long until more is.
func (u *unconfirmed) look() (wait time.Duration, idle bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := u.locker.clock().mono
	u.list = slices.DeleteFunc(u.list, func(lk *unconfirmedLock) bool {
		if !lk.sending && now >= lk.lapses {
			lk.state = settled
		}
		return lk.state == settled
	})
	due, wait := u.pick(now)

	for family, batch := range due {
		u.flight++
		if !u.locker.core.Group().Go("release of unconfirmed locks", func(ctx context.Context) { u.send(ctx, family, batch) }) {
			u.flight--
		}
	}
	u.running = len(u.list) > 0
	return wait, !u.running
}

// pick returns what is to be sent now, and how long until more is. First releases go before repeated ones, which seldom find
// anything: thousands of cancelled acquires must not delay the release of a lock that is there.
func (u *unconfirmed) pick(now time.Duration) (due map[*family][]*unconfirmedLock, wait time.Duration) {
	due, wait = map[*family][]*unconfirmedLock{}, time.Second
	for _, again := range []bool{false, true} {
		for _, lk := range u.list {
			switch {
			case lk.sending || lk.tries > 0 != again:
			case lk.next > now:
				wait = min(wait, lk.next-now)
			case len(due[lk.family]) < chunk && u.flight < unconfirmedFlights:
				lk.sending = true
				due[lk.family] = append(due[lk.family], lk)
			default:
				wait = min(wait, time.Millisecond)
			}
		}
	}
	return due, wait
}

func (u *unconfirmed) send(ctx context.Context, family *family, batch []*unconfirmedLock) {
	calls := make([]core.Call, len(batch))
	for i, lk := range batch {
		calls[i] = lk.call
	}
	had := make([]int64, len(batch))
	errs := make([]error, len(batch))
	for i, r := range u.locker.core.EvalMulti(ctx, family.release, calls) {
		msg, err := r.Get()
		if err == nil {
			had[i], err = u.locker.released(msg.AsInt64())
		}
		errs[i] = err
	}

	now := u.locker.clock().mono
	u.mu.Lock()
	u.flight--
	for i, lk := range batch {
		lk.answered(now, had[i], errs[i])
	}
	u.mu.Unlock()
	u.poke()
}

// answered moves an unconfirmed lock on after a release.
func (lk *unconfirmedLock) answered(now time.Duration, had int64, err error) {
	lk.sending = false
	lk.tries++
	slowest := unconfirmedPatient
	switch {
	case err != nil:
		slowest = unconfirmedSlowest
	case had == hadLock || had == hadPlace || lk.state == standing || now >= lk.began+arrival:
		lk.state = settled
	}
	lk.next = now + min(unconfirmedRetry<<min(lk.tries, 6), slowest)
}

// flush sends everything once more, at the end. Requests travel together, so that many locks and a long round trip
// fit into the time that Close has.
func (u *unconfirmed) flush(ctx context.Context) {
	u.mu.Lock()
	calls := map[*family][]core.Call{}
	for _, lk := range u.list {
		if lk.state != settled {
			calls[lk.family] = append(calls[lk.family], lk.call)
		}
	}
	u.list = nil
	u.mu.Unlock()

	var sending sync.WaitGroup
	places := make(chan struct{}, flights)
	for family, all := range calls {
		for part := range slices.Chunk(all, chunk) {
			places <- struct{}{}
			sending.Go(func() {
				defer func() { <-places }()
				u.locker.core.EvalMulti(ctx, family.release, part)
			})
		}
	}
	sending.Wait()
}
