package lock

import (
	"context"
	"errors"
	"fmt"
)

// Resource is a semaphore, one side of a read-write lock, or several plain locks. It is acquired as
// a [Lock], with the guarantees of a plain lock. [Locker.Semaphore], [Locker.Reader],
// [Locker.Writer] and [Locker.All] return it. Its methods are safe for concurrent use.
type Resource struct {
	locker *Locker
	target *target
}

// Semaphore returns the semaphore of a name. It has n permits, from 1 to 1,000,000. A process
// acquires one permit, or several with the option [Permits]. Waiters get permits in order of
// arrival. All processes must use the same n. While they differ, as during a deployment, each
// process uses its own n. The semaphore, the read-write lock and the plain lock of one name are
// independent.
//
// Concurrency of package ratelimit bounds concurrent work too. Use the semaphore for work that
// waits, and for holders that must know at once when a permit is lost: each permit is a [Lock] with
// a context, a token and renewal. Use ratelimit.Concurrency for requests that are refused while too
// many run. It does not wait, it has limits per key and an outage policy, and its permits have no
// token.
func (l *Locker) Semaphore(name string, n int) (*Resource, error) {
	if n < 1 || n > maxPermits {
		return nil, fmt.Errorf("lock: semaphore %s: n is %d: it must be from 1 to %d", quoted(name), n, maxPermits)
	}
	return l.resource(kindPermit, name, n)
}

// Reader returns the shared side of the read-write lock of a name. Any number of readers hold it
// while no writer holds it. Readers wait behind waiting writers, so a constant stream of writers
// excludes readers.
func (l *Locker) Reader(name string) (*Resource, error) { return l.resource(kindReader, name, 1) }

// Writer returns the exclusive side of the read-write lock of a name.
func (l *Locker) Writer(name string) (*Resource, error) { return l.resource(kindWriter, name, 1) }

func (l *Locker) resource(kind byte, name string, n int) (*Resource, error) {
	t, err := l.target(kind, name, n)
	if err != nil {
		return nil, err
	}
	t.keys = l.keys(&t)
	return &Resource{locker: l, target: &t}, nil
}

// All returns a [Resource] that acquires the plain locks of 1 to 100 names together, or none of
// them. If all are free, it takes one round trip. The Locker needs [Options.Group], which puts the
// names into one cluster slot. The locks share one token, which is greater than all earlier tokens
// of each name.
//
// Acquire waits in the queues of all names and holds no lock while it waits. If a name becomes free
// when the waiter is first in its queue, the name is reserved for the waiter. The reservation lasts
// as long as the waiter has waited, from 0.1 s to 5 s. Then the next waiter may take the name.
//
// Callers of All with common names cannot deadlock, in any order of names. Callers that acquire the
// names one by one cannot deadlock with All either, but they can delay each other for the time of
// the reservation.
func (l *Locker) All(names ...string) (*Resource, error) {
	if len(names) < 1 || len(names) > maxNames {
		return nil, fmt.Errorf("lock: all: %d names: pass from 1 to %d names", len(names), maxNames)
	}

	if l.opt.Group == "" {
		return nil, errors.New("lock: all: the Locker has no Options.Group: set it, so that the names share a cluster slot")
	}

	t := &target{scripts: &severalScripts, kind: kindAll}
	seen := make(map[string]bool, len(names))
	for _, name := range names {
		if seen[name] {
			return nil, fmt.Errorf("lock: all: the name %s occurs twice: pass each name once", quoted(name))
		}
		seen[name] = true
		part, err := l.target(kindMutex, name, 0)
		if err != nil {
			return nil, err
		}
		part.keys = l.keys(&part)
		t.parts = append(t.parts, &part)
	}

	t.name, t.state = names[0], t.parts[0].state
	t.keys = l.keys(t)
	return &Resource{locker: l, target: t}, nil
}

// Acquire acquires the resource. It waits and fails as [Locker.Acquire] does.
func (r *Resource) Acquire(ctx context.Context, opts ...CallOption) (*Lock, error) {
	h, err := r.lock(opts)
	if err != nil {
		return nil, err
	}
	return r.locker.acquire(ctx, h)
}

// TryAcquire acquires the resource if it is free and has no waiters, as [Locker.TryAcquire] does.
func (r *Resource) TryAcquire(ctx context.Context, opts ...CallOption) (*Lock, error) {
	h, err := r.lock(opts)
	if err != nil {
		return nil, err
	}
	return r.locker.tryAcquire(ctx, h)
}

// Do acquires the resource, calls fn, and releases the resource, as [Locker.Do] does.
func (r *Resource) Do(ctx context.Context, fn func(ctx context.Context, held *Lock) error, opts ...CallOption) error {
	held, err := r.Acquire(ctx, opts...)
	if err != nil {
		return err
	}
	_, err = held.do(ctx, fn)
	return err
}

// lock returns a Lock of the resource. The Lock is not acquired yet.
func (r *Resource) lock(opts []CallOption) (*Lock, error) {
	c, err := r.locker.settings(r.target, opts)
	if err != nil {
		return nil, err
	}
	h := &Lock{locker: r.locker}
	h.lease.init(r.locker, r.target, c)
	return h, nil
}
