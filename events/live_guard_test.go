package events_test

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/observe"
)

// User code of a live subscriber that panics, exits its goroutine or returns a typed nil fails one
// event. No worker is lost, however often this happens, and the channel of the event continues.
func TestLiveUserCodeCannotEndAWorker(t *testing.T) {
	t.Parallel()
	exit := func() { runtime.Goexit() }
	for name, user := range map[string]struct {
		handler func() error
		onError func()
	}{
		"handler panics":    {func() error { panic("handler") }, func() {}},
		"handler exits":     {func() error { exit(); return nil }, func() {}},
		"both exit":         {func() error { exit(); return nil }, exit},
		"exits, then panic": {func() error { exit(); return nil }, func() { panic("OnError") }},
		"OnError exits":     {func() error { return errors.New("cause") }, exit},
		"typed nil":         {func() error { return (*brokenError)(nil) }, func() {}},
		"Error panics":      {func() error { return &brokenError{} }, func() {}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const workers, faults = 2, 5 // more faults than workers
			bus := live(t, rig.Shared(t).URL(), rig.Prefix(t), events.LiveOptions{})
			var reported atomic.Int64
			sub := subscriber(t, bus, "s", events.SubscriberOptions{Concurrency: workers,
				OnError: func(_ context.Context, e events.Event[[]byte], err error) {
					if e.Channel != "a" || err == nil {
						t.Errorf("OnError got the channel %q and the error %v", e.Channel, err)
					}
					reported.Add(1)
					user.onError()
				}})
			got := newLog()
			must(t, notes.Handle(sub, "?", func(_ context.Context, e events.Event[note]) error {
				if e.Data.Text == "fault" {
					return user.handler()
				}
				got.add(e.Channel, e.Data.N)
				return nil
			}))
			stop := run(t, sub)

			for range faults {
				must(t, notes.Publish(t.Context(), bus, "a", note{Text: "fault"}))
			}
			must(t, notes.Publish(t.Context(), bus, "a", note{N: 0}))
			must(t, notes.Publish(t.Context(), bus, "b", note{N: 0}))
			rig.Eventually(t, 20*time.Second, "the events behind the faults",
				func() bool { return len(got.of("a")) == 1 && len(got.of("b")) == 1 })

			stop() // Run also waits for workers that have replaced others
			if s := sub.Stats(); s.Failed != faults || s.Handled != 2 || reported.Load() != faults || s.InFlight != 0 {
				t.Errorf("%d failed, %d handled, %d reported, %d in flight; want %d, 2, %d, 0", s.Failed,
					s.Handled, reported.Load(), s.InFlight, faults, faults)
			}
		})
	}
}

// exiting is a TraceContext whose Extract exits its goroutine for the first events.
type exiting struct{ left *atomic.Int64 }

func (exiting) Inject(context.Context) (string, string) {
	return "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", ""
}

func (e exiting) Extract(ctx context.Context, _, _ string) context.Context {
	if e.left.Add(-1) >= 0 {
		runtime.Goexit()
	}
	return ctx
}

// An Extract that exits its goroutine loses no worker, on both kinds of bus.
func TestExtractCannotEndAWorker(t *testing.T) {
	t.Parallel()
	const exits = 3
	for name, newBus := range map[string]func(t *testing.T, trace events.TraceContext) events.Bus{
		"live": func(t *testing.T, trace events.TraceContext) events.Bus {
			return live(t, rig.Shared(t).URL(), rig.Prefix(t), events.LiveOptions{Trace: trace})
		},
		"durable": func(t *testing.T, trace events.TraceContext) events.Bus {
			return durable(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), events.DurableOptions{Trace: trace})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			left := new(atomic.Int64)
			left.Store(exits)
			bus := newBus(t, exiting{left})
			sub := subscriber(t, bus, "g", oneAttempt(bus, events.SubscriberOptions{Concurrency: 1}))
			got := newLog()
			must(t, notes.Handle(sub, "*", func(_ context.Context,
				e events.Event[note]) error {
				got.add(e.Channel, e.Data.N)
				return nil
			}))
			run(t, sub)
			for range exits {
				must(t, notes.Publish(t.Context(), bus, "a", note{N: 9}))
			}
			rig.Eventually(t, 20*time.Second, "the exits", func() bool { return sub.Stats().Failed == exits })
			must(t, notes.Publish(t.Context(), bus, "a", note{N: 0}))
			got.inOrder(t, "a", 1)
		})
	}
}

// fussy is data with user code, which panics or exits when the data is encoded or decoded.
type fussy struct{ Write, Read string }

func (f fussy) MarshalJSON() ([]byte, error) {
	misbehave(f.Write)
	return json.Marshal(f.Read)
}

func (f *fussy) UnmarshalJSON(text []byte) error {
	if err := json.Unmarshal(text, &f.Read); err != nil {
		return err
	}
	misbehave(f.Read)
	return nil
}

func misbehave(how string) {
	switch how {
	case "panic":
		panic("user's JSON")
	case "exit":
		runtime.Goexit()
	}
}

// A panic in MarshalJSON of the data, or in Inject, is an error of the call that publishes.
func TestPublishContainsPanics(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
	bus := durable(t, client, events.DurableOptions{})
	liveBus, err := events.NewLive(client, events.LiveOptions{})
	must(t, err)
	traced := durable(t, client, events.DurableOptions{Trace: panicking{}})
	topic := events.NewTopic[fussy]("fussy")
	bad := fussy{Write: "panic"}

	var batch events.Batch
	topic.AddToBatch(&batch, "a", bad)
	topic.AddToBatch(&batch, "a", fussy{})
	tx := execs{}
	_, requested := events.Request[fussy, int](t.Context(), liveBus, topic, "a", bad)
	for name, err := range map[string]error{
		"durable": topic.Publish(t.Context(), bus, "a", bad),
		"live":    topic.Publish(t.Context(), liveBus, "a", bad),
		"batch":   bus.PublishBatch(t.Context(), &batch),
		"request": requested,
		"outbox":  topic.AddToOutbox(t.Context(), &tx, events.OutboxTable{Dialect: events.SQLite}, "a", bad),
		"Inject":  topic.Publish(t.Context(), traced, "a", fussy{}),
	} {
		if _, panicked := errors.AsType[*events.PanicError](err); !panicked {
			t.Errorf("%s: %v, want a PanicError", name, err)
		}
	}
	if s := bus.Stats(); s.Published != 1 {
		t.Errorf("%d events were published, want the second of the batch", s.Published)
	}
	if len(tx.queries) != 0 {
		t.Errorf("statements: %q", tx.queries)
	}
}

type panicking struct{}

func (panicking) Inject(context.Context) (string, string) { panic("Inject") }
func (panicking) Extract(ctx context.Context, _, _ string) context.Context {
	return ctx
}

// Every way in which the answering handler can end sends an answer. The request does not wait for
// its deadline.
func TestAnswerAnswersWhateverUserCodeDoes(t *testing.T) {
	t.Parallel()
	bus := live(t, rig.Shared(t).URL(), rig.Prefix(t), events.LiveOptions{})
	sub := subscriber(t, bus, "s", events.SubscriberOptions{Concurrency: 1})
	topic := events.NewTopic[fussy]("fussy")
	must(t, events.Answer(sub, topic, "*", func(_ context.Context, e events.Event[fussy]) (fussy, error) {
		switch e.Channel {
		case "handler panics":
			panic("handler")
		case "handler exits":
			runtime.Goexit()
		case "answer panics":
			return fussy{Write: "panic"}, nil
		case "answer too large":
			return fussy{Read: strings.Repeat("x", 2<<20)}, nil
		case "error too large":
			return fussy{}, errors.New(strings.Repeat("x", 2<<20))
		case "answer exits":
			return fussy{Write: "exit"}, nil
		}
		return fussy{Read: "fine"}, nil
	}))
	run(t, sub)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, c := range []struct{ channel, read string }{
		{"handler panics", ""}, {"handler exits", ""}, {"answer panics", ""}, {"answer exits", ""},
		{"answer too large", ""}, {"error too large", ""}, {"question panics", "panic"},
		{"question exits", "exit"},
	} {
		if _, err := events.Request[fussy, string](ctx, bus, topic, c.channel,
			fussy{Read: c.read}); !errors.Is(err, events.ErrRemote) {
			t.Errorf("%s: %v, want ErrRemote", c.channel, err)
		}
	}
	if answer, err := events.Request[fussy, string](ctx, bus, topic, "a", fussy{}); err != nil ||
		!strings.Contains(answer, "fine") {
		t.Errorf("after the faults: %q, %v", answer, err)
	}
}

// An answer whose UnmarshalJSON panics is an error of Request.
func TestRequestContainsPanics(t *testing.T) {
	t.Parallel()
	bus := live(t, rig.Shared(t).URL(), rig.Prefix(t), events.LiveOptions{})
	sub := subscriber(t, bus, "s", events.SubscriberOptions{})
	topic := events.NewTopic[int]("x")
	must(t, events.Answer(sub, topic, "a", func(context.Context, events.Event[int]) (string, error) { return "panic", nil }))
	run(t, sub)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := events.Request[int, fussy](ctx, bus, topic, "a", 1)
	if _, panicked := errors.AsType[*events.PanicError](err); !panicked {
		t.Errorf("%v, want a PanicError", err)
	}
}

// loud is an observer that panics.
type loud struct{ calls atomic.Int64 }

func (l *loud) Start(ctx context.Context, op observe.Operation) (context.Context, func(error)) {
	if op.Pattern != "events" {
		return ctx, nil
	}
	if l.calls.Add(1)%2 == 0 {
		panic("Start")
	}
	return ctx, func(error) { panic("end") }
}

// An observer that panics changes no result and ends no worker.
func TestObserverCannotEndAWorker(t *testing.T) {
	t.Parallel()
	observer := new(loud)
	client, err := redstart.Open(t.Context(), redstart.Config{URL: rig.Shared(t).URL(),
		Namespace: rig.Prefix(t), Observer: observer, CommandTimeout: 10 * time.Second})
	must(t, err)
	t.Cleanup(func() { must(t, client.Close()) })
	bus := durable(t, client, events.DurableOptions{})
	sub := subscriber(t, bus, "g", events.SubscriberOptions{})
	got := newLog()
	must(t, notes.Handle(sub, "*", func(_ context.Context,
		e events.Event[note]) error {
		got.add(e.Channel, e.Data.N)
		return nil
	}))
	run(t, sub)
	for n := range 10 {
		must(t, notes.Publish(t.Context(), bus, "a", note{N: n}))
	}
	got.inOrder(t, "a", 10)
	if s := sub.Stats(); s.Failed != 0 || observer.calls.Load() < 20 {
		t.Errorf("%d attempts failed, the observer was called %d times", s.Failed, observer.calls.Load())
	}
}
