package lock

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/core"
)

const (
	// pause after the first release without a final answer; it doubles after each
	unconfirmedRetry    = 50 * time.Millisecond
	unconfirmedRetryMax = 250 * time.Millisecond // maximum pause after a release without an answer
	unconfirmedEmptyMax = 3200 * time.Millisecond
	// an acquire without an answer may reach the server for this time
	arrivalMax          = 3 * time.Second
	unconfirmedMax      = 100_000
	unconfirmedInFlight = 8 // batches in flight
)

// unconfirmed releases in the background what an id may own on the server without a Lock in this
// process: acquires without an answer, releases without an answer, and places in queues. It has one
// goroutine, while there is something to release.
type unconfirmed struct {
	locker *Locker
	wake   stepper

	mu       sync.Mutex
	list     []*unconfirmedLock
	running  bool
	inFlight int
}

// unconfirmedState is what this process knows of an unconfirmed lock.
//
//	state     | answer "released" | no answer         | answer "nothing there"                  | lease over
//	mayArrive | → resolved        | stays, asks again | stays for arrivalMax, then → resolved   | → resolved
//	stored    | → resolved        | stays, asks again | → resolved                              | → resolved
//	resolved  | removed
type unconfirmedState int8

const (
	mayArrive unconfirmedState = iota // its acquire may still reach the server
	stored                            // the server had granted it
	resolved                          // nothing is left to release
)

type unconfirmedLock struct {
	call      core.Call
	scripts   *scriptSet
	state     unconfirmedState
	addedAt   time.Duration
	expiresAt time.Duration // its lease has ended at this time in any case
	nextTry   time.Duration // when to send the next release
	tries     int
	sending   bool
}

func newUnconfirmed(l *Locker) *unconfirmed {
	return &unconfirmed{locker: l, wake: newStepper(l.core.Time())}
}

// add releases in the background what the id of a lease owns of its target. A token of 0 means that
// it may own nothing.
func (u *unconfirmed) add(ls *lease) {
	l := u.locker
	state := mayArrive
	if ls.token > 0 {
		state = stored
	}

	now := l.clock().mono
	u.mu.Lock()
	for _, part := range ls.target.each() {
		if len(u.list) >= unconfirmedMax {
			break // it ends with its lease
		}
		u.list = append(u.list, &unconfirmedLock{
			call: l.releaseCall(part, ls.id, ls.token), scripts: part.scripts, state: state,
			addedAt: now, expiresAt: now + ls.settings.ttl + arrivalMax, nextTry: now,
		})
	}

	if !u.running {
		// The goroutine starts before the caller returns, so that the release is sent right after
		// the request that it undoes.
		u.running = l.core.Group().Work("release of unconfirmed locks", func(ctx context.Context) { u.wake.run(ctx, u.step) })
	}

	u.mu.Unlock()
	u.wake.signal()
}

// step sends the releases that are due, in batches. wait is the time until the next step.
func (u *unconfirmed) step() (wait time.Duration, idle bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := u.locker.clock().mono
	u.list = slices.DeleteFunc(u.list, func(lk *unconfirmedLock) bool {
		if !lk.sending && now >= lk.expiresAt {
			lk.state = resolved
		}
		return lk.state == resolved
	})
	due, wait := u.pick(now)

	for family, batch := range due {
		u.inFlight++
		if !u.locker.core.Group().Work("release of unconfirmed locks", func(ctx context.Context) { u.send(ctx, family, batch) }) {
			u.inFlight--
		}
	}

	u.running = len(u.list) > 0
	return wait, !u.running
}

// pick returns the releases that are due, and the time until more are due. First releases come
// before repeated ones, because repeated releases rarely find a lock: thousands of canceled
// acquires must not delay the release of a lock that exists.
func (u *unconfirmed) pick(now time.Duration) (due map[*scriptSet][]*unconfirmedLock, wait time.Duration) {
	due, wait = map[*scriptSet][]*unconfirmedLock{}, time.Second
	for _, again := range []bool{false, true} {
		for _, lk := range u.list {
			switch {
			case lk.sending || lk.tries > 0 != again:
			case lk.nextTry > now:
				wait = min(wait, lk.nextTry-now)
			case len(due[lk.scripts]) < requestLeases && u.inFlight < unconfirmedInFlight:
				lk.sending = true
				due[lk.scripts] = append(due[lk.scripts], lk)
			default:
				wait = min(wait, time.Millisecond)
			}
		}
	}

	return due, wait
}

func (u *unconfirmed) send(ctx context.Context, family *scriptSet, batch []*unconfirmedLock) {
	calls := make([]core.Call, len(batch))
	for i, lk := range batch {
		calls[i] = lk.call
	}

	answers := make([]int64, len(batch))
	errs := make([]error, len(batch))
	for i, r := range u.locker.core.EvalMulti(ctx, family.release, calls) {
		msg, err := r.Get()
		if err == nil {
			answers[i], err = u.locker.released(msg.AsInt64())
		}
		errs[i] = err
	}

	now := u.locker.clock().mono
	u.mu.Lock()
	u.inFlight--
	for i, lk := range batch {
		lk.answered(now, answers[i], errs[i])
	}

	u.mu.Unlock()
	u.wake.signal()
}

// answered updates an unconfirmed lock after a release.
func (lk *unconfirmedLock) answered(now time.Duration, answers int64, err error) {
	lk.sending = false
	lk.tries++
	slowest := unconfirmedEmptyMax
	switch {
	case err != nil:
		slowest = unconfirmedRetryMax
	case answers == releasedLock || answers == leftQueue || lk.state == stored || now >= lk.addedAt+arrivalMax:
		lk.state = resolved
	}
	lk.nextTry = now + min(unconfirmedRetry<<min(lk.tries, 6), slowest)
}

// flush sends one last release for each lock. Requests are sent concurrently, so that many locks
// and a long round trip fit into the time of Close.
func (u *unconfirmed) flush(ctx context.Context) {
	u.mu.Lock()
	calls := map[*scriptSet][]core.Call{}
	for _, lk := range u.list {
		if lk.state != resolved {
			calls[lk.scripts] = append(calls[lk.scripts], lk.call)
		}
	}

	u.list = nil
	u.mu.Unlock()

	var sending sync.WaitGroup
	places := make(chan struct{}, requestsInFlight)
	for family, all := range calls {
		for part := range slices.Chunk(all, requestLeases) {
			places <- struct{}{}
			sending.Go(func() {
				defer func() { <-places }()
				u.locker.core.EvalMulti(ctx, family.release, part)
			})
		}
	}

	sending.Wait()
}
