package demo

import (
	"context"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/lock"
)

func openLocks(
	client *redstart.Client, process string,
) (*lock.Locker, error) {
	return lock.New(client, lock.Options{
		Name: "story", TTL: time.Second, Process: process,
	})
}

func (w *worker) process(ctx context.Context, order string) error {
	work := func(ctx context.Context, held *lock.Lock) error {
		w.pack(ctx, held) // other instances wait
		// After a pause this instance may have lost the lock.
		// Redis compares the fencing tokens.
		ctx = context.WithoutCancel(ctx)
		result := []byte(w.name)
		return w.locks.FencedSet(ctx, held, order, result, time.Minute)
	}
	return w.locks.Do(ctx, order, work)
}
