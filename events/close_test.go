package events_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/observe"
)

// labelled returns the metrics with a label of this value.
func labelled(client *redstart.Client, value string) (names []string) {
	for m := range client.Metrics() {
		for _, l := range m.Labels {
			if l.Value == value {
				names = append(names, m.Name)
			}
		}
	}
	return names
}

// Close waits for the running handler, ends Run, and removes the metrics. Later calls return
// ErrClosed. The client and its other buses continue.
func TestCloseEndsABus(t *testing.T) {
	t.Parallel()
	buses(t, nil, func(t *testing.T, client *redstart.Client, bus events.Bus) {
		sub := subscriber(t, bus, "closing", events.SubscriberOptions{})
		late := subscriber(t, bus, "closing", events.SubscriberOptions{})
		began, release := make(chan struct{}), make(chan struct{})
		var handled atomic.Bool
		for _, s := range []*events.Subscriber{sub, late} {
			must(t, notes.Handle(s, "a*", func(context.Context, events.Event[note]) error {
				close(began)
				<-release
				handled.Store(true)
				return nil
			}))
		}
		stop := run(t, sub)
		must(t, notes.Publish(t.Context(), bus, "a", note{}))
		arrives(t, "the event", began)
		if len(labelled(client, "closing")) == 0 {
			t.Error("the subscriber has no metrics")
		}

		closed := make(chan error, 2)
		for range cap(closed) {
			go func() { closed <- bus.Close(t.Context()) }()
		}
		rig.Eventually(t, 10*time.Second, "the bus refuses",
			func() bool { return errors.Is(notes.Publish(t.Context(), bus, "a", note{}), events.ErrClosed) })
		select {
		case err := <-closed:
			t.Fatalf("Close returned %v while a handler was running", err)
		default:
		}
		close(release)
		for range cap(closed) {
			if err := arrives(t, "Close", closed); err != nil || !handled.Load() {
				t.Errorf("Close: %v, handled: %v", err, handled.Load())
			}
		}
		stop() // Run has returned nil
		must(t, bus.Close(t.Context()))

		for name, err := range calls(t, bus, late) {
			if !errors.Is(err, events.ErrClosed) {
				t.Errorf("%s: %v, want ErrClosed", name, err)
			}
		}
		if names := labelled(client, "closing"); len(names) > 0 {
			t.Errorf("metrics after Close: %v", names)
		}
		other, err := events.NewDurable(client, "other", events.DurableOptions{})
		must(t, err)
		must(t, notes.Publish(t.Context(), other, "a", note{}))
	})
}

// calls makes every call on a closed bus.
func calls(t *testing.T, bus events.Bus, late *events.Subscriber) map[string]error {
	ctx := t.Context()
	_, err := bus.Subscriber("g", events.SubscriberOptions{})
	all := map[string]error{"Publish": notes.Publish(ctx, bus, "a", note{}), "Subscriber": err, "Run": late.Run(ctx)}
	switch bus := bus.(type) {
	case *events.Live:
		_, all["Request"] = events.Request[note, note](ctx, bus, notes, "a", note{})
	case *events.Durable:
		var batch events.Batch
		notes.AddToBatch(&batch, "a", note{})
		dead := bus.DeadLetters("g")
		all["PublishBatch"], all["DropGroup"] = bus.PublishBatch(ctx, &batch), bus.DropGroup(ctx, "g")
		_, all["Count"] = dead.Count(ctx)
		_, all["List"] = dead.List(ctx, "", 1)
		_, all["Redrive"] = dead.Redrive(ctx, "0.1-1")
		_, all["DropAll"] = dead.DropAll(ctx)
	}
	return all
}

// A running handler delays Close until the context of Close ends. A later Close waits for the
// handler.
func TestCloseWaitsWithinItsContext(t *testing.T) {
	t.Parallel()
	buses(t, nil, func(t *testing.T, _ *redstart.Client, bus events.Bus) {
		sub := subscriber(t, bus, "g", events.SubscriberOptions{DrainTimeout: events.NoDrainTimeout})
		began, release := make(chan struct{}), make(chan struct{})
		must(t, notes.Handle(sub, "a", func(context.Context, events.Event[note]) error { close(began); <-release; return nil }))
		run(t, sub)
		must(t, notes.Publish(t.Context(), bus, "a", note{}))
		arrives(t, "the event", began)

		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		if err := bus.Close(ctx); !errors.Is(err, cause) || !strings.Contains(err.Error(), "subscriber") {
			t.Errorf("Close: %v, want the cause and what is running", err)
		}
		close(release)
		must(t, bus.Close(t.Context()))
	})
}

// The client closes while Close of a bus waits for a handler. The event is still acknowledged.
func TestCloseOfTheClientWaitsForCloseOfTheBus(t *testing.T) {
	t.Parallel()
	url, namespace := rig.Shared(t).URL(), rig.Prefix(t)
	client, err := redstart.Open(t.Context(), redstart.Config{URL: url, Namespace: namespace})
	must(t, err)
	bus := durable(t, client, events.DurableOptions{})
	sub := subscriber(t, bus, "g", events.SubscriberOptions{})
	began, release := make(chan struct{}), make(chan struct{})
	must(t, notes.Handle(sub, "a", func(context.Context, events.Event[note]) error { close(began); <-release; return nil }))
	run(t, sub)
	must(t, notes.Publish(t.Context(), bus, "a", note{}))
	arrives(t, "the event", began)

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := bus.Close(ended); err == nil {
		t.Error("Close returned nil while a handler was running")
	}
	closed := make(chan error, 1)
	go func() { closed <- client.Close() }()
	close(release)
	must(t, arrives(t, "the client's Close", closed))

	again := durable(t, open(t, url, namespace), events.DurableOptions{})
	second := subscriber(t, again, "g", events.SubscriberOptions{})
	got := newLog()
	must(t, notes.Handle(second, "*", func(_ context.Context,
		e events.Event[note]) error {
		got.add(e.Channel, e.Data.N)
		return nil
	}))
	run(t, second)
	must(t, notes.Publish(t.Context(), again, "a", note{N: 1}))
	rig.Eventually(t, 20*time.Second, "the next event", func() bool { return len(got.of("a")) > 0 })
	if all := got.of("a"); len(all) != 1 || all[0] != 1 {
		t.Errorf("%v, want only the second event: the first was handled", all)
	}
}

// A Request that waits for an answer ends with the bus.
func TestCloseEndsARequest(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
	bus, err := events.NewLive(client, events.LiveOptions{})
	must(t, err)
	asked := make(chan struct{})
	sub := subscriber(t, bus, "s", events.SubscriberOptions{})
	must(t, sub.HandleRaw("a", func(context.Context, events.Event[json.RawMessage]) error { close(asked); return nil }))
	run(t, sub)
	ended := make(chan error, 1)
	go func() {
		_, err := events.Request[note, note](t.Context(), bus, notes, "a", note{})
		ended <- err
	}()
	arrives(t, "the question", asked)
	must(t, bus.Close(t.Context()))
	if err := arrives(t, "the end of Request", ended); !errors.Is(err, events.ErrClosed) {
		t.Errorf("%v, want ErrClosed", err)
	}
}

// Close of a bus ends its SSE streams and waits for them. Later requests receive status 503.
func TestCloseEndsStreams(t *testing.T) {
	t.Parallel()
	bus := durable(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), events.DurableOptions{Retention: time.Hour})
	streams, err := bus.SSE(everybody, events.SSEOptions{})
	must(t, err)
	server := httptest.NewServer(streams)
	defer server.Close()
	in := browse(t, t.Context(), server.URL, "")
	must(t, notes.Publish(t.Context(), bus, "a", note{}))
	next(t, in)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	must(t, bus.Close(ctx))
	ended(t, in)
	resp, err := http.Get(server.URL)
	must(t, err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("after Close: status %d, want 503", resp.StatusCode)
	}
}

// Close begins after a call of Run, and before Run has registered. Run returns ErrClosed if the
// bus was closed, and the class of a closed client if the client was.
func TestCloseBeforeRunRegisters(t *testing.T) {
	t.Parallel()
	bus := func() *events.Durable {
		return durable(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), events.DurableOptions{})
	}
	if err := bus().EnterEnded(true); !errors.Is(err, events.ErrClosed) {
		t.Errorf("Run on a closed bus: %v", err)
	}
	if err := bus().EnterEnded(false); !errors.Is(err, redstart.ErrUnavailable) {
		t.Errorf("Run on a closed client: %v", err)
	}
}

// Close is called while other goroutines publish, subscribe and send requests. No call hangs, and
// every failed call returns ErrClosed.
func TestCloseInTheMiddleOfEverything(t *testing.T) {
	t.Parallel()
	buses(t, nil, func(t *testing.T, _ *redstart.Client, bus events.Bus) {
		const goroutines = 32
		started, count := make(chan struct{}), new(atomic.Int64)
		var wg sync.WaitGroup
		t.Cleanup(wg.Wait)
		failed := func(err error) bool {
			return err != nil && !errors.Is(err, events.ErrClosed) && t.Context().Err() == nil
		}
		for range goroutines {
			wg.Go(func() {
				for t.Context().Err() == nil {
					sub, err := bus.Subscriber("g", events.SubscriberOptions{Concurrency: 2})
					if errors.Is(err, events.ErrClosed) {
						return
					}
					must(t, err)
					must(t, notes.Handle(sub, "*", func(context.Context, events.Event[note]) error { return nil }))
					ctx, cancel := context.WithCancel(t.Context())
					running := make(chan error, 1)
					go func() { running <- sub.Run(ctx) }()
					for range 20 {
						if err := notes.Publish(t.Context(), bus, "a", note{}); failed(err) {
							t.Error(err)
						}
					}
					if count.Add(1) == 2*goroutines {
						close(started)
					}
					cancel()
					if err := <-running; failed(err) {
						t.Error(err)
					}
				}
			})
		}
		arrives(t, "two subscribers per goroutine", started)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		closed := make(chan error, 1)
		go func() { closed <- bus.Close(ctx) }()
		must(t, arrives(t, "the end of Close", closed)) // ctx has not ended
		wg.Wait()
	})
}

// Two live and two durable buses have the name "live", and their subscribers have the same name.
// Buses of one kind share their rows. Buses of two kinds have separate rows. No row occurs twice.
func TestMetricRowsAreUnique(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
	for range 2 {
		l, err := events.NewLive(client, events.LiveOptions{})
		must(t, err)
		d, err := events.NewDurable(client, "live", events.DurableOptions{})
		must(t, err)
		for _, bus := range []events.Bus{l, d, d} {
			sub := subscriber(t, bus, "s", events.SubscriberOptions{})
			must(t, notes.Handle(sub, "*", func(context.Context, events.Event[note]) error { return nil }))
			run(t, sub)
			must(t, notes.Publish(t.Context(), bus, "a", note{}))
		}
	}

	seen, kinds := map[string]bool{}, map[string]observe.Kind{}
	published, received := map[string]float64{}, 0
	for m := range client.Metrics() {
		row, labels := m.Name, map[string]string{}
		for _, l := range m.Labels {
			row += "," + l.Name + "=" + l.Value
			labels[l.Name] = l.Value
		}
		if seen[row] {
			t.Errorf("%s comes twice", row)
		}
		if kind, known := kinds[m.Name]; known && kind != m.Kind {
			t.Errorf("%s is of two kinds", m.Name)
		}
		seen[row], kinds[m.Name] = true, m.Kind
		switch m.Name {
		case "redstart.events.published":
			published[labels["bus"]+" "+labels["kind"]] = m.Value
		case "redstart.events.received":
			received++
		}
	}
	if len(published) != 2 || published["live live"] != 2 || published["live durable"] != 4 {
		t.Errorf("published: %v, want 2 on the live buses and 4 on the durable ones", published)
	}
	if received != 2 {
		t.Errorf("%d rows for subscribers, want one per kind of bus", received)
	}
}
