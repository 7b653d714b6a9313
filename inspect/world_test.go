package inspect_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/idempotency"
	"github.com/redstart-go/redstart/inspect"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/session"
)

// world is data of each pattern, in states that the calls of an Inspector need.
type world struct {
	t       *testing.T
	letters []string // ids of dead letters
	session string   // id of a session
}

func newWorld(t *testing.T, p place) *world {
	w := &world{t: t}
	users := newCache(t, p.service, "users", cache.Options{StaleFor: time.Hour})
	for _, key := range []string{"1", "2", "3"} {
		set(t, users, key, cache.Tags("team"))
	}
	must(t, users.Set(t.Context(), "large", strings.Repeat("x", 100_000)))

	l := newLocker(t, p.service, lock.Options{TTL: time.Minute, Wait: lock.WaitForever})
	for _, kind := range []inspect.LockKind{inspect.Mutex, inspect.Semaphore, inspect.ReadWrite} {
		id := inspect.LockID{Name: "a", Kind: kind}
		held, err := acquirer(t, l, id)(t.Context())
		must(t, err)
		next := waitFor(t, l, acquirer(t, l, id))
		t.Cleanup(func() {
			if err := held.Release(context.WithoutCancel(t.Context())); err != nil && !errors.Is(err, lock.ErrLost) {
				t.Error(err)
			}
			must(t, (<-next).Release(context.WithoutCancel(t.Context())))
		})
	}

	for _, a := range []ratelimit.Algorithm{ratelimit.GCRA, ratelimit.SlidingLog, ratelimit.SlidingWindow, ratelimit.FixedWindow} {
		limiter, err := ratelimit.New(p.service, "api", ratelimit.Options{Algorithm: a, Rules: []ratelimit.Rule{ratelimit.PerHour(3)}})
		must(t, err)
		_, err = limiter.Allow(t.Context(), "k")
		must(t, err)
		plans, err := ratelimit.NewPlans(limiter, ratelimit.PlansOptions{})
		must(t, err)
		must(t, plans.Set(t.Context(), "pro", ratelimit.PerHour(30)))
	}
	permits, err := ratelimit.NewConcurrency(p.service, "api", ratelimit.ConcurrencyOptions{Limit: 3, TTL: time.Minute})
	must(t, err)
	_, err = permits.Acquire(t.Context(), "k")
	must(t, err)

	m := newSessions(t, p, "web", session.Options{EncryptionKeys: [][]byte{sessionKey}})
	for range 3 {
		s, err := m.Create(t.Context(), "ada", account{"dark"}, session.Device("browser", "192.0.2.1"))
		must(t, err)
		w.session = s.ID()
	}
	w.fillBus(p)

	h := newOrders(t, p.service, idempotency.Options{}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) })
	for _, key := range []string{"shown", "forgotten"} {
		if status, _ := post(h, "ada", key); status != http.StatusCreated {
			t.Fatalf("the request %s has status %d", key, status)
		}
	}
	return w
}

// fillBus makes dead letters, failed events that wait for their next attempt, and delayed events.
func (w *world) fillBus(p place) {
	bus := newBus(w.t, p.service, "orders")
	kill(w.t, bus, "mail", 8)
	letters, err := bus.DeadLetters("mail").List(w.t.Context(), "", 100)
	must(w.t, err)
	for _, l := range letters {
		w.letters = append(w.letters, l.ID)
	}
	failed := make(chan struct{}, 100)
	stop := runGroup(w.t, bus, "mail", events.SubscriberOptions{Backoff: func(int) time.Duration { return time.Hour }},
		func(context.Context, events.Event[order]) error {
			failed <- struct{}{}
			return errors.New("the mail server is down")
		})
	must(w.t, orders.Publish(w.t.Context(), bus, "late", order{}))
	<-failed
	must(w.t, orders.Publish(w.t.Context(), bus, "later", order{}, events.Delay(time.Hour)))
	rig.Eventually(w.t, 20*time.Second, "the failed event waits", func() bool {
		g, err := bus.Group(w.t.Context(), "mail")
		return err == nil && g.Waiting > 0
	})
	stop()
	for i := range 5 {
		must(w.t, orders.Publish(w.t.Context(), bus, fmt.Sprint("unread", i), order{N: i}))
	}
}

// reads returns all reading calls.
func (w *world) reads(in *inspect.Inspector) map[string]func(context.Context) error {
	caches, locks, limits, sessions, bus := in.Caches(), in.Locks(), in.Limits(), in.Sessions(), in.Events()
	shown := inspect.IdempotencyID{Executor: "orders", Scope: "ada", Key: "shown"}
	all := inspect.Page{Limit: 500}
	return map[string]func(context.Context) error{
		"Inspector.Server":      func(ctx context.Context) error { _, err := in.Server(ctx); return err },
		"Inspector.Doctor":      func(ctx context.Context) error { _, err := in.Doctor(ctx); return err },
		"Caches.List":           func(ctx context.Context) error { _, err := caches.List(ctx, all); return err },
		"Caches.Get":            func(ctx context.Context) error { _, err := caches.Get(ctx, "users", "large"); return err },
		"Caches.Explain":        func(ctx context.Context) error { _, err := caches.Explain(ctx, "users", "1"); return err },
		"Caches.ExplainVersion": func(ctx context.Context) error { _, err := caches.ExplainVersion(ctx, "users", "1", "2"); return err },
		"Locks.List":            func(ctx context.Context) error { _, err := locks.List(ctx, all); return err },
		"Locks.Show": func(ctx context.Context) error {
			_, err := locks.Show(ctx, inspect.LockID{Name: "a", Kind: inspect.ReadWrite})
			return err
		},
		"Limits.List": func(ctx context.Context) error { _, err := limits.List(ctx, all); return err },
		"Limits.Keys": func(ctx context.Context) error { _, err := limits.Keys(ctx, "api", all); return err },
		"Limits.Show": func(ctx context.Context) error { _, err := limits.Show(ctx, "api", "k"); return err },
		"Limits.ShowRules": func(ctx context.Context) error {
			for _, a := range []ratelimit.Algorithm{ratelimit.GCRA, ratelimit.SlidingLog, ratelimit.SlidingWindow, ratelimit.FixedWindow} {
				if _, err := limits.ShowRules(ctx, "api", "k", a, ratelimit.PerHour(3)); err != nil {
					return err
				}
			}
			return nil
		},
		"Limits.ShowPlan": func(ctx context.Context) error {
			_, err := limits.ShowPlan(ctx, "api", "k", ratelimit.GCRA, "pro")
			return err
		},
		"Sessions.Managers": func(ctx context.Context) error { _, err := sessions.Managers(ctx, all); return err },
		"Sessions.OfUser":   func(ctx context.Context) error { _, err := sessions.OfUser(ctx, "web", "ada", all); return err },
		"Sessions.Data": func(ctx context.Context) error {
			_, err := sessions.Data(ctx, "web", "ada", w.session)
			return err
		},
		"Sessions.Count":     func(ctx context.Context) error { _, err := sessions.Count(ctx, "web", all); return err },
		"Idempotency.Show":   func(ctx context.Context) error { _, err := in.Idempotency().Show(ctx, shown); return err },
		"Idempotency.Result": func(ctx context.Context) error { _, err := in.Idempotency().Result(ctx, shown); return err },
		"Events.Buses":       func(ctx context.Context) error { _, err := bus.Buses(ctx, all); return err },
		"Events.Partitions":  func(ctx context.Context) error { _, err := bus.Partitions(ctx, "orders", "mail", all); return err },
		"Events.Groups":      func(ctx context.Context) error { _, err := bus.Groups(ctx, "orders", all); return err },
		"Events.Group":       func(ctx context.Context) error { _, err := bus.Group(ctx, "orders", "mail"); return err },
		"Events.Blocked":     func(ctx context.Context) error { _, err := bus.Blocked(ctx, "orders", "mail", all); return err },
		"Events.Waiting": func(ctx context.Context) error {
			_, err := bus.Waiting(ctx, "orders", "mail", "late", true, all)
			return err
		},
		"Events.Peek": func(ctx context.Context) error {
			_, err := bus.Peek(ctx, "orders", inspect.PeekOptions{Oldest: true}, all)
			if err == nil {
				_, err = bus.Peek(ctx, "orders", inspect.PeekOptions{}, all)
			}
			return err
		},
		"Events.Tail": func(ctx context.Context) error {
			for _, err := range bus.Tail(ctx, "orders", inspect.TailOptions{From: "0-0", Limit: 1}) {
				return err
			}
			return errors.New("Tail ended")
		},
		"Events.Dead": func(ctx context.Context) error { _, err := bus.Dead(ctx, "orders", "mail", all); return err },
		"Events.DeadLetter": func(ctx context.Context) error {
			_, err := bus.DeadLetter(ctx, "orders", "mail", w.letters[0])
			return err
		},
	}
}

// changes returns all repairs.
func (w *world) changes(in *inspect.Inspector) map[string]func(context.Context) error {
	caches, locks, limits, sessions, bus := in.Caches(), in.Locks(), in.Limits(), in.Sessions(), in.Events()
	return map[string]func(context.Context) error{
		"Caches.Delete":        func(ctx context.Context) error { return caches.Delete(ctx, "users", "1") },
		"Caches.Expire":        func(ctx context.Context) error { return caches.Expire(ctx, "users", "2") },
		"Caches.InvalidateTag": func(ctx context.Context) error { return caches.InvalidateTag(ctx, "users", "team") },
		"Caches.Clear":         func(ctx context.Context) error { return caches.Clear(ctx, "users") },
		"Locks.Break": func(ctx context.Context) error {
			for _, kind := range []inspect.LockKind{inspect.Mutex, inspect.Semaphore, inspect.ReadWrite} {
				if _, err := locks.Break(ctx, inspect.LockID{Name: "a", Kind: kind}, ""); err != nil {
					return err
				}
			}
			return nil
		},
		"Limits.Reset":       func(ctx context.Context) error { _, err := limits.Reset(ctx, "api", "k"); return err },
		"Limits.EndPermits":  func(ctx context.Context) error { return limits.EndPermits(ctx, "api", "k") },
		"Sessions.Revoke":    func(ctx context.Context) error { return sessions.Revoke(ctx, "web", "ada", w.session) },
		"Sessions.RevokeAll": func(ctx context.Context) error { _, err := sessions.RevokeAll(ctx, "web", "ada"); return err },
		"Idempotency.Forget": func(ctx context.Context) error {
			return in.Idempotency().Forget(ctx, inspect.IdempotencyID{Executor: "orders", Scope: "ada", Key: "forgotten"})
		},
		"Events.Drop": func(ctx context.Context) error { _, err := bus.Drop(ctx, "orders", "mail", w.letters[1]); return err },
		"Events.Redrive": func(ctx context.Context) error {
			_, err := bus.Redrive(ctx, "orders", "mail", w.letters[2])
			return err
		},
		"Events.RedriveAll": func(ctx context.Context) error { _, err := bus.RedriveAll(ctx, "orders", "mail"); return err },
		"Events.DropAll":    func(ctx context.Context) error { _, err := bus.DropAll(ctx, "orders", "mail"); return err },
		"Events.Pause":      func(ctx context.Context) error { _, err := bus.Pause(ctx, "orders", "mail"); return err },
		"Events.Resume":     func(ctx context.Context) error { _, err := bus.Resume(ctx, "orders", "mail"); return err },
		"Events.DropGroup":  func(ctx context.Context) error { return bus.DropGroup(ctx, "orders", "mail") },
	}
}
