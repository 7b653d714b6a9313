package browser_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/console"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/session"
)

// worked is a Redis with the state of a shop: caches, held locks with a queue, dead letters,
// sessions and used limits. Its console is at url.
type worked struct {
	t      *testing.T
	client *redstart.Client
	url    string

	orders   *events.Durable
	heal     atomic.Bool  // the handler of the group warehouse handles poisoned orders
	repaired atomic.Int64 // poisoned orders that it has handled
}

// must fails the test with an error.
func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// newWorked starts the console of a filled server, which changes until the test ends.
func newWorked(t *testing.T) *worked {
	t.Helper()
	client := rigclient.Open(t, rig.Standalone(t).URL(), "shop")
	w := &worked{t: t, client: client}
	c := must(console.New(client, console.Options{Prefix: "/console", Mask: console.MaskNone,
		Authorize: func(*http.Request) (console.Role, error) { return console.Operator, nil }}))(t)
	server := httptest.NewServer(c)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		server.Close()
	})
	w.url = server.URL + "/console"
	w.fillLocks()
	w.fillEvents()
	w.fillSessions()
	w.fillTraffic()
	return w
}

// background runs a function until the test ends.
func (w *worked) background(run func(ctx context.Context)) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); run(ctx) }()
	w.t.Cleanup(func() { stop(); <-done })
}

func (w *worked) fillLocks() {
	t := w.t
	hold := func(process, name string) {
		locker := must(lock.New(w.client, lock.Options{TTL: 30 * time.Second, Process: process}))(t)
		held := must(locker.Acquire(t.Context(), name))(t)
		t.Cleanup(func() {
			if err := held.Release(context.Background()); err != nil && !errors.Is(err, lock.ErrLost) {
				t.Error(err)
			}
		})
	}
	hold("billing-7f9c", "invoice:2026-11")
	hold("worker-2", "import:customers")
	hold("scheduler-1", "leader:nightly")
	exporter := must(lock.New(w.client, lock.Options{TTL: 30 * time.Second, Process: "exporter-4"}))(t)
	exports := must(exporter.Semaphore("exports", 3))(t)
	must(exports.Acquire(t.Context(), lock.Permits(2)))(t) // the client ends it
	catalogue := must(exporter.Reader("catalogue"))(t)
	must(catalogue.Acquire(t.Context()))(t)
	for i, process := range []string{"billing-b21a", "billing-03de", "reports-1"} {
		locker := must(lock.New(w.client, lock.Options{Wait: lock.WaitForever, Process: process}))(t)
		w.background(func(ctx context.Context) {
			if held, err := locker.Acquire(ctx, "invoice:2026-11"); err == nil {
				<-ctx.Done()
				_ = held.Release(context.Background()) // it can be broken by the test
			}
		})
		rig.Eventually(t, patience, "the waiter is in the queue", func() bool {
			info, err := locker.Inspect(t.Context(), "invoice:2026-11")
			return err == nil && info.Waiting == i+1
		})
	}
}

// order is the data of an event.
type order struct {
	Order int    `json:"order"`
	Item  string `json:"item"`
}

func (w *worked) fillEvents() {
	t := w.t
	bus := must(events.NewDurable(w.client, "orders", events.DurableOptions{}))(t)
	w.orders = bus
	topic := events.NewTopic[order]("order.placed")
	for group, handle := range map[string]func(events.Event[order]) error{
		"mailer":    func(events.Event[order]) error { return nil },
		"warehouse": func(e events.Event[order]) error { return w.handle(e.Data) },
	} {
		sub := must(bus.Subscriber(group, events.SubscriberOptions{}))(t)
		must(0, topic.Handle(sub, "*", func(_ context.Context, e events.Event[order]) error { return handle(e) }))(t)
		w.background(func(ctx context.Context) { _ = sub.Run(ctx) })
		<-sub.Ready()
	}
	for i := range 40 {
		must(0, topic.Publish(t.Context(), bus, fmt.Sprint("orders:", i%7), order{i, "Notebook, squared"}))(t)
	}
	rig.Eventually(t, patience, "the poisoned events are dead letters", func() bool {
		g, err := bus.Group(t.Context(), "warehouse")
		return err == nil && g.Dead == 6
	})
	must(0, bus.Pause(t.Context(), "mailer"))(t)
	w.background(func(ctx context.Context) {
		for i := 40; ctx.Err() == nil; i++ {
			_ = topic.Publish(ctx, bus, fmt.Sprint("orders:", i%7), order{i + 1_000_000, "Pencil"}) // the lag of the paused group grows
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
}

// handle refuses each seventh order until the handler is repaired.
func (w *worked) handle(o order) error {
	if o.Order >= 1_000_000 || o.Order%7 != 3 {
		return nil
	}
	if !w.heal.Load() {
		return events.Discard(fmt.Errorf("warehouse: order %d: no article with the name %q", o.Order, o.Item))
	}
	w.repaired.Add(1)
	return nil
}

func (w *worked) fillSessions() {
	m := must(session.New[string](w.client, "web", session.Options{}))(w.t)
	for _, device := range []string{"Mozilla/5.0 (X11; Linux x86_64) Firefox/142.0", "Mozilla/5.0 (iPhone) Safari/605.1", "curl/8.14"} {
		must(m.Create(w.t.Context(), "ada@example.com", "", session.Device(device, "192.0.2.17")))(w.t)
	}
}

// fillTraffic uses a cache and a limiter until the test ends.
func (w *worked) fillTraffic() {
	t := w.t
	users := must(cache.New[string](w.client, "users", cache.Options{TTL: 5 * time.Second, Near: cache.NearOptions{MaxEntries: 20}}))(t)
	limiter := must(ratelimit.New(w.client, "api", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerSecond(50)}}))(t)
	exports := must(ratelimit.NewConcurrency(w.client, "api", ratelimit.ConcurrencyOptions{Limit: 5, TTL: time.Hour}))(t)
	must(exports.Acquire(t.Context(), "ada"))(t)
	reports := must(lock.New(w.client, lock.Options{Process: "reports-1"}))(t)
	w.background(func(ctx context.Context) {
		for i := 0; ctx.Err() == nil; i++ {
			key := fmt.Sprint("user:", i*i%97)
			_, _ = users.GetOrLoad(ctx, key, func(context.Context, string) (string, error) { return "value of " + key, nil })
			_, _ = limiter.Allow(ctx, "ada")
			if i%20 == 0 {
				_ = reports.Do(ctx, "report:daily", func(context.Context, *lock.Lock) error { return nil })
			}
			select {
			case <-ctx.Done():
			case <-time.After(time.Duration(5+10*(i/400%2)) * time.Millisecond):
			}
		}
	})
}
