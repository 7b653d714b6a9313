package redstartgocron

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-co-op/gocron/v2"

	"github.com/redstart-go/redstart/lock"
)

// Locker is a gocron.Locker: a run of a job holds the lock of the job's name. Use [NewLocker]. Its
// methods are safe for concurrent use.
type Locker struct {
	locker  *lock.Locker
	minHold time.Duration
}

var _ gocron.Locker = (*Locker)(nil)

// NewLocker returns a Locker. Schedulers have clocks that differ, and a short job can end in one
// process before the other process starts it. So each run holds its lock for at least minHold. It
// must be longer than the difference of the clocks, and shorter than the time between two runs.
// With 0, a lock is released when its job ends.
func NewLocker(locker *lock.Locker, minHold time.Duration) (*Locker, error) {
	switch {
	case locker == nil:
		return nil, errors.New("redstartgocron: NewLocker: the locker is nil: use lock.New")
	case minHold < 0:
		return nil, fmt.Errorf("redstartgocron: NewLocker: minHold is %v: it must not be negative", minHold)
	}
	return &Locker{locker, minHold}, nil
}

// Lock acquires the lock of a job. It does not wait: if another process runs the job, Lock returns
// lock.ErrNotAcquired, and gocron skips this run. It takes one round trip. An event listener of
// gocron.AfterLockError receives the error.
func (l *Locker) Lock(ctx context.Context, job string) (gocron.Lock, error) {
	held, err := l.locker.TryAcquire(ctx, job)
	if err != nil {
		return nil, err
	}
	return &run{held, time.Now().Add(l.minHold)}, nil
}

// run is the lock of one run of a job.
type run struct {
	held  *lock.Lock
	until time.Time // the earliest release
}

// Unlock waits for the rest of minHold and releases the lock. The end of ctx, which is the shutdown
// of the scheduler, ends the wait. It returns lock.ErrLost if the lock was lost while the job ran.
func (r *run) Unlock(ctx context.Context) error {
	select {
	case <-time.After(time.Until(r.until)):
	case <-ctx.Done():
	case <-r.held.Context().Done(): // lost: there is nothing to hold
	}
	return r.held.Release(context.WithoutCancel(ctx))
}
