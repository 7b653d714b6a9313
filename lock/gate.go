package lock

import (
	"context"
	"errors"
	"fmt"
)

// Gate is something other than one plain lock that can be acquired: permits of a semaphore, a side of a read-write
// lock, several locks at once. What it gives is a Lock with the same guarantees.
type Gate struct {
	locker  *Locker
	kind    byte
	targets []*target
}

// Semaphore returns the semaphore of that name, which up to n hold at once. All processes must say the
// same n; while they differ, as during a deployment, each goes by its own. Permits pass to
// waiters first come, first served. A name's semaphore, read-write lock and plain lock have nothing to do with each other.
func (l *Locker) Semaphore(name string, n int) (*Gate, error) {
	if n < 1 || n > maxPermits {
		return nil, fmt.Errorf("lock: semaphore %s: n is %d: it must be from 1 to %d", shown(name), n, maxPermits)
	}
	return l.gate(permit, name, n)
}

// Reader returns the shared side of the read-write lock of that name: any number of readers hold it while no writer
// does. Readers wait behind writers who wait, so a steady stream of writers keeps readers out.
func (l *Locker) Reader(name string) (*Gate, error) { return l.gate(reader, name, 1) }

// Writer returns the exclusive side of the read-write lock of that name.
func (l *Locker) Writer(name string) (*Gate, error) { return l.gate(writer, name, 1) }

func (l *Locker) gate(kind byte, name string, n int) (*Gate, error) {
	t, err := l.target(kind, name, n)
	if err != nil {
		return nil, err
	}
	return &Gate{locker: l, kind: kind, targets: []*target{t}}, nil
}

// All returns a Gate that takes the plain locks of several names at once, or none of them: one round trip when all
// are free. The Locker needs Options.Group, which puts them into one cluster slot. Their one Token is
// greater than all earlier ones of each name.
//
// Acquire holds nothing while it waits, so it can't deadlock with others who want some of the same names, in whatever
// order. It queues for one name at a time; a name that others want all the time can keep it waiting until Wait is over.
func (l *Locker) All(names ...string) (*Gate, error) {
	if len(names) < 1 || len(names) > maxNames {
		return nil, fmt.Errorf("lock: All takes from 1 to %d names, not %d", maxNames, len(names))
	}
	if l.opt.Group == "" {
		return nil, errors.New("lock: All needs a Locker with Options.Group: only names of one group share a cluster slot")
	}
	g := &Gate{locker: l, kind: alone}
	seen := make(map[string]bool, len(names))
	for _, name := range names {
		if seen[name] {
			return nil, fmt.Errorf("lock: All: the name %s comes twice", shown(name))
		}
		seen[name] = true
		t, err := l.target(alone, name, 0)
		if err != nil {
			return nil, err
		}
		g.targets = append(g.targets, t)
	}
	return g, nil
}

// Acquire is Locker.Acquire for what the Gate stands for.
func (g *Gate) Acquire(ctx context.Context) (*Lock, error) {
	return g.locker.observed(ctx, "acquire", func(ctx context.Context) (*Lock, error) {
		if g.kind == alone {
			return g.locker.acquireAll(ctx, g.targets, g.locker.opt.Wait)
		}
		return g.locker.acquire(ctx, g.targets[0], g.locker.newID(g.kind))
	})
}

// TryAcquire is Locker.TryAcquire for what the Gate stands for.
func (g *Gate) TryAcquire(ctx context.Context) (*Lock, error) {
	return g.locker.observed(ctx, "try", func(ctx context.Context) (*Lock, error) {
		if g.kind == alone {
			return g.locker.acquireAll(ctx, g.targets, 0)
		}
		return g.locker.try(ctx, g.targets[0], g.locker.newID(g.kind))
	})
}

// Do is Locker.Do for what the Gate stands for.
func (g *Gate) Do(ctx context.Context, fn func(ctx context.Context, held *Lock) error) error {
	held, err := g.Acquire(ctx)
	if err != nil {
		return err
	}
	return held.do(ctx, fn)
}
