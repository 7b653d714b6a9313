// Package allmetrics uses each pattern of a client once, so that the client yields each of its
// metrics, and its observer gets each quantity. Tests compare the result with the documentation,
// the dashboard and the alerts.
package allmetrics

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/idempotency"
	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/session"
)

// Name is the name of each cache, locker, limiter, manager, bus and subscriber.
const Name = "all"

// Emit uses each pattern. When it returns, the client yields each metric until the test ends.
func Emit(t testing.TB, client *redstart.Client) {
	t.Helper()
	for _, use := range []struct {
		what string
		do   func(t testing.TB, client *redstart.Client) error
	}{
		{"cache", useCache}, {"lock", useLock}, {"ratelimit", useLimiter}, {"session", useSession},
		{"idempotency", useIdempotency}, {"events", useEvents},
	} {
		if err := use.do(t, client); err != nil {
			t.Fatalf("%s: %v", use.what, err)
		}
	}
}

func useCache(t testing.TB, client *redstart.Client) error {
	c, err := cache.New[int](client, Name, cache.Options{Near: cache.NearOptions{MaxEntries: 10, MaxBytes: 1 << 20}})
	if err != nil {
		return err
	}
	for range 2 {
		if _, err := c.GetOrLoad(t.Context(), "k", func(context.Context, string) (int, error) { return 1, nil }); err != nil {
			return err
		}
	}
	return c.Delete(t.Context(), "k")
}

func useLock(t testing.TB, client *redstart.Client) error {
	locker, err := lock.New(client, lock.Options{Name: Name})
	if err != nil {
		return err
	}
	held, err := locker.Acquire(t.Context(), "n")
	if err != nil {
		return err
	}
	waited := make(chan error, 1)
	go func() {
		waited <- locker.Do(t.Context(), "n", func(context.Context, *lock.Lock) error { return nil })
	}()
	for locker.Stats().Waiting == 0 {
		select {
		case err := <-waited:
			return fmt.Errorf("the second holder did not wait: %w", err)
		case <-time.After(time.Millisecond):
		}
	}
	if err := held.Release(t.Context()); err != nil {
		return err
	}
	return <-waited
}

func useLimiter(t testing.TB, client *redstart.Client) error {
	limiter, err := ratelimit.New(client, Name, ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerSecond(1)}})
	if err != nil {
		return err
	}
	for range 2 { // the second is refused
		if _, err := limiter.Allow(t.Context(), "k"); err != nil {
			return err
		}
	}

	permits, err := ratelimit.NewConcurrency(client, Name, ratelimit.ConcurrencyOptions{Limit: 1})
	if err != nil {
		return err
	}
	permit, err := permits.Acquire(t.Context(), "k")
	if err != nil {
		return err
	}
	return permit.Release(t.Context())
}

func useSession(t testing.TB, client *redstart.Client) error {
	manager, err := session.New[int](client, Name, session.Options{})
	if err != nil {
		return err
	}
	s, err := manager.Create(t.Context(), "ana", 1)
	if err != nil {
		return err
	}
	_, err = manager.Load(t.Context(), s.Token())
	return err
}

func useIdempotency(_ testing.TB, client *redstart.Client) error {
	_, err := idempotency.New(client, Name, idempotency.Options{Scope: idempotency.OneScope})
	return err
}

// useEvents leaves a subscriber of each bus running, because the metrics of a subscriber exist
// while it runs.
func useEvents(t testing.TB, client *redstart.Client) error {
	durable, err := events.NewDurable(client, Name, events.DurableOptions{})
	if err != nil {
		return err
	}
	live, err := events.NewLive(client, events.LiveOptions{})
	if err != nil {
		return err
	}
	topic := events.NewTopic[int]("all.metrics")
	for _, bus := range []events.Bus{durable, live} {
		handled := make(chan struct{}, 1)
		sub, err := bus.Subscriber(Name, events.SubscriberOptions{})
		if err != nil {
			return err
		}
		if err := topic.Handle(sub, "*", func(context.Context, events.Event[int]) error {
			handled <- struct{}{}
			return nil
		}); err != nil {
			return err
		}
		if err := run(t, sub); err != nil {
			return err
		}
		if err := topic.Publish(t.Context(), bus, "c", 1); err != nil {
			return err
		}
		select {
		case <-handled:
		case <-t.Context().Done():
			return t.Context().Err()
		}
	}
	return nil
}

// run runs a subscriber until the test ends.
func run(t testing.TB, sub *events.Subscriber) error {
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- sub.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-sub.Ready():
		return nil
	case err := <-ended:
		ended <- nil
		return fmt.Errorf("the subscriber ended: %w", err)
	}
}
