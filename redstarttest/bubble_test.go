package redstarttest_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/redstarttest"
	"github.com/redstart-go/redstart/session"
)

var ticked = events.NewTopic[int]("tick")

// All five patterns run in a bubble for two hours, which pass in about a second.
func TestHoursOfAllPatternsInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := redstarttest.Start(t)
		client := server.Client()
		began := time.Now()

		locks, err := lock.New(client, lock.Options{TTL: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		held, err := locks.Acquire(t.Context(), "report")
		if err != nil {
			t.Fatal(err)
		}

		numbers, err := cache.New[int](client, "numbers", cache.Options{TTL: time.Hour, Near: cache.NearOptions{MaxEntries: 100}})
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
		read()

		limiter, err := ratelimit.New(client, "reports", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(1)}})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second one waits for an hour
			if err := limiter.Wait(t.Context(), "ada"); err != nil {
				t.Fatal(err)
			}
		}

		bus, err := events.NewDurable(client, "ticks", events.DurableOptions{Partitions: 2})
		if err != nil {
			t.Fatal(err)
		}
		sub, err := bus.Subscriber("counters", events.SubscriberOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var handled atomic.Int64
		err = ticked.Handle(sub, "*", func(context.Context, events.Event[int]) error { handled.Add(1); return nil })
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- sub.Run(ctx) }()
		<-sub.Ready()
		for i, delay := range []time.Duration{0, 10 * time.Minute} {
			if err := ticked.Publish(t.Context(), bus, "clock", i, events.Delay(delay)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Minute)
		redstarttest.Drain(server, bus)
		if handled.Load() != 2 || time.Since(began) < time.Hour+10*time.Minute {
			t.Errorf("%d of 2 events were handled after %v", handled.Load(), time.Since(began))
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}

		sessions, err := session.New[string](client, "shop", session.Options{IdleTimeout: 30 * time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		login, err := sessions.Create(t.Context(), "ada", "cart")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sessions.Load(t.Context(), login.Token()); err != nil {
			t.Fatal(err)
		}

		time.Sleep(2*time.Hour - time.Since(began))
		if err := held.Err(); err != nil || locks.Stats().Renewals < 2*3600/10 {
			t.Errorf("a lock of 10 s was renewed %d times in two hours: %v", locks.Stats().Renewals, err)
		}
		read()
		if loads != 2 {
			t.Errorf("%d loads of a value that lasts for an hour", loads)
		}
		if _, err := sessions.Load(t.Context(), login.Token()); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("a session without use for an hour: %v", err)
		}
		if err := held.Release(t.Context()); err != nil {
			t.Error(err)
		}
		server.Settle()
		server.RequireNoKeysWithoutTTL("events:")
	})
}
