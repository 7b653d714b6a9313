package main

import (
	"context"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

// The incident "a stuck lock" of docs/guides/operating.md.
func TestTranscriptStuckLock(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	s, namespace := rig.Shared(t), rig.Prefix(t)
	client := open(t, s.URL(), namespace)
	locker := func(process string) *lock.Locker {
		l, err := lock.New(client, lock.Options{Process: process, TTL: time.Minute, Wait: lock.WaitForever})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}

	var held *lock.Lock
	next := make(chan *lock.Lock, 1)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	transcript(t, "stuck-lock.txt", serverEnv(s.URL(), namespace), map[string]func(){
		"worker-7 holds the lock and hangs; worker-9 waits": func() {
			var err error
			if held, err = locker("worker-7:311").Acquire(ctx, "invoice:42"); err != nil {
				t.Fatal(err)
			}
			waiter := locker("worker-9:408")
			go func() {
				got, err := waiter.Acquire(ctx, "invoice:42")
				if err != nil {
					t.Error(err)
				}
				next <- got
			}()
			rig.Eventually(t, 5*time.Second, "worker-9 waits", func() bool { return waiter.Stats().Waiting == 1 })
		},
		"the process of worker-7 does not answer": func() {},
		"worker-9 has the lock": func() {
			got := <-next
			if got == nil || got.Token() <= held.Token() {
				t.Fatal("worker-9 did not get a newer token")
			}
			rig.Eventually(t, 5*time.Second, "the grant is confirmed", func() bool { return got.Err() == nil })
		},
	})
}
