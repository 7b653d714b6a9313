package callers_test

import (
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bsm/redislock"

	"github.com/redstart-go/redstart/bench/callers"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

// taker acquires a lock by name. It waits, and returns the function that releases the lock.
type taker func(name string) (release func() error, err error)

func redstartTaker(b *testing.B, p place) taker {
	locker, err := lock.New(p.client(b), lock.Options{Wait: lock.WaitForever})
	if err != nil {
		b.Fatal(err)
	}
	return func(name string) (func() error, error) {
		held, err := locker.Acquire(b.Context(), name)
		if err != nil {
			return nil, err
		}
		return func() error { return held.Release(b.Context()) }, nil
	}
}

func rivalTaker(b *testing.B, p place) taker {
	locker := redislock.New(p.goredis(b))
	retry := &redislock.Options{RetryStrategy: redislock.LinearBackoff(10 * time.Millisecond)}
	return func(name string) (func() error, error) {
		held, err := locker.Obtain(b.Context(), name, 30*time.Second, retry)
		if err != nil {
			return nil, err
		}
		return func() error { return held.Release(b.Context()) }, nil
	}
}

func lockOwn(b *testing.B, p place, _ callers.Case) operation  { return own(b, redstartTaker(b, p)) }
func rivalOwn(b *testing.B, p place, _ callers.Case) operation { return own(b, rivalTaker(b, p)) }

// own acquires and releases a name that no other caller uses.
func own(b *testing.B, take taker) operation {
	prefix := rig.Prefix(b)
	return func(caller int, _ int64, _ func() bool) error {
		release, err := take(prefix + strconv.Itoa(caller))
		if err != nil {
			return err
		}
		return release()
	}
}

func lockHandoff(b *testing.B, p place, c callers.Case) operation {
	return handoff(b, p, c, redstartTaker)
}

func rivalHandoff(b *testing.B, p place, c callers.Case) operation {
	return handoff(b, p, c, rivalTaker)
}

// handoff acquires one name with up to eight clients. If a caller gets the lock that it just
// released, this is no change of holder, and the caller tries again.
func handoff(b *testing.B, p place, c callers.Case, open func(*testing.B, place) taker) operation {
	takers := make([]taker, min(c.Callers+1, 8))
	for i := range takers {
		takers[i] = open(b, p)
	}
	name := rig.Prefix(b)
	var last atomic.Int64
	return func(caller int, _ int64, ended func() bool) error {
		for {
			release, err := takers[caller%len(takers)](name)
			if err != nil {
				return err
			}
			changed := last.Swap(int64(caller)+1) != int64(caller)+1
			if err := release(); err != nil {
				return err
			}
			if changed {
				return nil
			}
			if ended() {
				return errEnded
			}
		}
	}
}
