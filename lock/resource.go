package lock

import (
	"context"
	"errors"
	"fmt"
)

// Resource is something other than one plain lock that can be acquired: permits of a semaphore, a side of a read-write
// lock, several locks at once. What it gives is a Lock with the same guarantees.
type Resource struct {
	locker *Locker
	target *target
}

// Semaphore returns the semaphore of that name, which up to n hold at once. All processes must say the
// same n; while they differ, as during a deployment, each goes by its own. Permits pass to
// waiters first come, first served; [Permits] takes several at once. A name's semaphore, read-write lock and plain lock have
// nothing to do with each other.
//
// A semaphore and package ratelimit's Concurrency both bound how many run at once. Use the semaphore for work that should
// wait its turn, and whose holder must know at once when its permit is lost: each permit is a Lock, with a context that
// ends, a token and renewal, and acquiring is two writes. Use ratelimit.Concurrency for requests that should be refused when
// too many run: it does not wait, knows per-key limits and an outage policy, and its permits are not fenced.
func (l *Locker) Semaphore(name string, n int) (*Resource, error) {
	if n < 1 || n > maxPermits {
		return nil, fmt.Errorf("lock: semaphore %s: n is %d: it must be from 1 to %d", quoted(name), n, maxPermits)
	}
	return l.resource(kindPermit, name, n)
}

// Reader returns the shared side of the read-write lock of that name: any number of readers hold it while no writer
// does. Readers wait behind writers who wait, so a steady stream of writers keeps readers out.
func (l *Locker) Reader(name string) (*Resource, error) { return l.resource(kindReader, name, 1) }

// Writer returns the exclusive side of the read-write lock of that name.
func (l *Locker) Writer(name string) (*Resource, error) { return l.resource(kindWriter, name, 1) }

func (l *Locker) resource(kind byte, name string, n int) (*Resource, error) {
	t, err := l.target(kind, name, n)
	if err != nil {
		return nil, err
	}
	t.keys = l.keys(&t)
	return &Resource{locker: l, target: &t}, nil
}

// All returns a Resource that takes the plain locks of several names at once, or none of them: one round trip when all
// are free. The Locker needs Options.Group, which puts them into one cluster slot. Their one Token is
// greater than all earlier ones of each name.
//
// Acquire waits in the queues of all its names, first come, first served, and holds nothing while it waits. A name whose
// turn it is, and that is free before the others are, is kept free for it, for as long as it has waited (from 0.1 s to 5 s);
// then the next waiter goes before it. So those who want some of the same names, in whatever order, can't deadlock, and
// neither do callers who take the names one by one, although these can hold each other up for that long.
func (l *Locker) All(names ...string) (*Resource, error) {
	if len(names) < 1 || len(names) > maxNames {
		return nil, fmt.Errorf("lock: All takes from 1 to %d names, not %d", maxNames, len(names))
	}
	if l.opt.Group == "" {
		return nil, errors.New("lock: All needs a Locker with Options.Group: only names of one group share a cluster slot")
	}
	t := &target{scripts: &severalScripts, kind: kindAll}
	seen := make(map[string]bool, len(names))
	for _, name := range names {
		if seen[name] {
			return nil, fmt.Errorf("lock: All: the name %s comes twice", quoted(name))
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

// Acquire is Locker.Acquire for what the Resource stands for.
func (r *Resource) Acquire(ctx context.Context, opts ...CallOption) (*Lock, error) {
	h, err := r.lock(opts)
	if err != nil {
		return nil, err
	}
	return r.locker.acquire(ctx, h)
}

// TryAcquire is Locker.TryAcquire for what the Resource stands for.
func (r *Resource) TryAcquire(ctx context.Context, opts ...CallOption) (*Lock, error) {
	h, err := r.lock(opts)
	if err != nil {
		return nil, err
	}
	return r.locker.tryAcquire(ctx, h)
}

// Do is Locker.Do for what the Resource stands for.
func (r *Resource) Do(ctx context.Context, fn func(ctx context.Context, held *Lock) error, opts ...CallOption) error {
	held, err := r.Acquire(ctx, opts...)
	if err != nil {
		return err
	}
	_, err = held.do(ctx, fn)
	return err
}

// lock returns a Lock of what the Resource stands for, to be acquired.
func (r *Resource) lock(opts []CallOption) (*Lock, error) {
	c, err := r.locker.settings(r.target, opts)
	if err != nil {
		return nil, err
	}
	h := &Lock{locker: r.locker}
	h.lease.init(r.locker, r.target, c)
	return h, nil
}
