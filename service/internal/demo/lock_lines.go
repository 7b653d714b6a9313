package demo

import (
	"context"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/lock"
)

func openLocks(client *redstart.Client, process string) (*lock.Locker, error) {
	return lock.New(client, lock.Options{Name: "story", TTL: time.Second, Process: process})
}

func (w *worker) process(ctx context.Context, order string) error {
	return w.locks.Do(ctx, order, func(ctx context.Context, held *lock.Lock) error {
		w.pack(ctx, held) // the work; other instances wait
		// After a pause this instance may have lost the lock. Redis compares the fencing tokens.
		ctx = context.WithoutCancel(ctx)
		return w.locks.FencedSet(ctx, held, order, []byte(w.name), time.Minute)
	})
}
