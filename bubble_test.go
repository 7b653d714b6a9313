package redstart_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/embedded"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/ratelimit"
)

// A client, its patterns and the embedded engine run in a bubble. Ten minutes of leases, TTLs and
// pushes pass at once. Close must end all goroutines, because a bubble with a remaining goroutine
// fails. Two bubbles follow each other, and a client outside works at the same time. No bubble may
// use a channel of another.
func TestClientInASynctestBubble(t *testing.T) {
	t.Parallel()
	server := rig.Embedded(t)
	outside, err := redstart.Open(t.Context(), redstart.Config{
		URL: server.URL(), Namespace: rig.Prefix(t), CommandTimeout: 10 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	locker, err := lock.New(outside, lock.Options{TTL: 10 * time.Second, Wait: lock.WaitForever})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var busy sync.WaitGroup
	defer busy.Wait()
	defer stop()
	for range 2 { // they wait for each other
		busy.Go(func() {
			for ctx.Err() == nil {
				held, err := locker.Acquire(t.Context(), "outside")
				if err != nil {
					t.Error(err)
					return
				}
				if err := held.Release(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}

	for i := range 2 {
		t.Run(fmt.Sprint("bubble ", i), func(t *testing.T) { synctest.Test(t, tenMinutes) })
		runtime.GC() // empties pools
	}
}

// tenMinutes holds a lock for ten minutes, next to a waiter, a cache and a limiter.
func tenMinutes(t *testing.T) {
	server, err := embedded.Start(t.Context(), embedded.Options{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := redstart.Open(t.Context(), redstart.Config{URL: server.URL(), Dialer: server.Dial})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}()
	locker, err := lock.New(client, lock.Options{TTL: 10 * time.Second, Wait: lock.WaitForever})
	if err != nil {
		t.Fatal(err)
	}
	numbers, err := cache.New[int](client, "numbers", cache.Options{TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	limiter, err := ratelimit.New(client, "api", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerMinute(1)}})
	if err != nil {
		t.Fatal(err)
	}

	loads := 0
	read := func() {
		t.Helper()
		_, err := numbers.GetOrLoad(t.Context(), "n", func(context.Context, string) (int, error) { loads++; return loads, nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	held, err := locker.Acquire(t.Context(), "n")
	if err != nil {
		t.Fatal(err)
	}
	var waited time.Duration
	var waiter sync.WaitGroup
	waiter.Go(func() {
		began := time.Now()
		next, err := locker.Acquire(context.Background(), "n")
		if waited = time.Since(began); err != nil {
			t.Error(err)
			return
		}
		if err := next.Release(context.Background()); err != nil {
			t.Error(err)
		}
	})
	began := time.Now()
	for range 3 {
		if err := limiter.Wait(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took < 2*time.Minute || took > 3*time.Minute {
		t.Errorf("three requests at one a minute took %v", took)
	}
	read()
	read()
	time.Sleep(10*time.Minute - time.Since(began))
	read()
	if loads != 2 {
		t.Errorf("%d loads of a value that lasts for a minute, with reads at the start and at the end of ten minutes", loads)
	}
	if renewals := locker.Stats().Renewals; held.Err() != nil || renewals < 150 {
		t.Errorf("a lock of 10 s was renewed %d times in ten minutes: %v", renewals, held.Err())
	}
	if err := held.Release(t.Context()); err != nil {
		t.Error(err)
	}
	waiter.Wait()
	if waited < 10*time.Minute || waited > 10*time.Minute+time.Second {
		t.Errorf("the next holder waited for %v", waited)
	}
}
