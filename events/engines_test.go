package events_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// Every engine has the same behaviour.
func TestLiveOnEveryEngine(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := open(t, e.URL, e.Namespace)
		bus, err := events.NewLive(client, events.LiveOptions{})
		must(t, err)
		sub := subscriber(t, bus, "all", events.SubscriberOptions{})
		got := newLog()
		must(t, notes.Handle(sub, "users:*", func(_ context.Context,
			e events.Event[note]) error {
			got.add("glob "+e.Channel, e.Data.N)
			return nil
		}))
		must(t, notes.Handle(sub, "users:1", func(_ context.Context,
			e events.Event[note]) error {
			got.add("exact "+e.Channel, e.Data.N)
			return nil
		}))
		run(t, sub)
		for n := range 100 {
			for u := range 3 {
				must(t, notes.Publish(t.Context(), bus, fmt.Sprintf("users:%d", u), note{N: n}))
			}
		}
		for _, name := range []string{"glob users:0", "glob users:1", "glob users:2", "exact users:1"} {
			got.inOrder(t, name, 100)
		}
	})
}

func TestDurableOnEveryEngine(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := open(t, e.URL, e.Namespace)
		bus := durable(t, client, events.DurableOptions{})
		sub := subscriber(t, bus, "group",
			events.SubscriberOptions{Backoff: func(int) time.Duration { return 10 * time.Millisecond }})
		got := newLog()
		var once sync.Once
		must(t, notes.Handle(sub, "users:*", func(_ context.Context, e events.Event[note]) (err error) {
			if e.Channel == "users:1" && e.Data.N == 50 {
				once.Do(func() { err = errors.New("not yet") })
			}
			if err == nil {
				got.add(e.Channel, e.Data.N)
			}
			return err
		}))
		stop := run(t, sub)
		for n := range 100 {
			for u := range 3 {
				must(t, notes.Publish(t.Context(), bus, fmt.Sprintf("users:%d", u), note{N: n}))
			}
		}
		must(t, notes.Publish(t.Context(), bus, "users:9", note{N: 0}, events.Delay(50*time.Millisecond)))
		for _, name := range []string{"users:0", "users:1", "users:2"} {
			got.inOrder(t, name, 100)
		}
		got.inOrder(t, "users:9", 1)
		stop()
		if s := sub.Stats(); s.Handled != 301 || s.Retries != 1 || s.Held != 0 || s.Partitions != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

// record has the events that handlers received, by name.
type record struct {
	mu  sync.Mutex
	got map[string][]int
}

func newLog() *record { return &record{got: make(map[string][]int)} }

func (l *record) add(name string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.got[name] = append(l.got[name], n)
}

func (l *record) of(name string) []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]int(nil), l.got[name]...)
}

func (l *record) total() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, all := range l.got {
		n += len(all)
	}
	return n
}

// inOrder waits until a name has n events, and checks that they are 0, 1, 2, ….
func (l *record) inOrder(t testing.TB, name string, n int) {
	t.Helper()
	rig.Eventually(t, time.Minute, fmt.Sprintf("%d events of %s", n, name), func() bool { return len(l.of(name)) >= n })
	for i, got := range l.of(name) {
		if got != i {
			t.Fatalf("%s: event %d came in place %d of %v", name, got, i, l.of(name))
		}
	}
}

// The tools' views of parked events and the drop of a group work on the embedded engine. The test
// rig checks the keys of their scripts.
func TestParkedEventsOnTheEmbeddedEngine(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), rig.Prefix(t))
	bus := durable(t, client, events.DurableOptions{Partitions: 1})
	kill(t, bus, "mail", 3)
	v := view(t, client)
	if n, err := v.RedriveAll(t.Context(), "mail"); err != nil || n != 3 {
		t.Fatalf("redrove %d, %v, want 3", n, err)
	}
	blocked, err := v.Blocked(t.Context(), "mail", 10)
	must(t, err)
	if len(blocked) != 3 || blocked[0].Waiting != 1 || blocked[0].Head == "" {
		t.Errorf("blocked channels %+v, want three with one event each", blocked)
	}
	waiting, err := v.Waiting(t.Context(), "mail", "a0", 0, 10, true)
	must(t, err)
	if waiting.Total != 1 || len(waiting.Events) != 1 || string(waiting.Events[0].Data) == "" {
		t.Errorf("waiting events %+v, want one", waiting)
	}
	must(t, v.DropGroup(t.Context(), "mail"))
	if _, known, err := v.Group(t.Context(), "mail"); err != nil || known {
		t.Errorf("the group is known after its drop, %v", err)
	}
}

// On the embedded engine, the next owner of a partition takes over a parked list that was handed
// out to an owner without a connection.
func TestParkedListsAreTakenOverOnTheEmbeddedEngine(t *testing.T) {
	t.Parallel()
	server, namespace := rig.Embedded(t), rig.Prefix(t)
	proxy := rig.NewProxy(t, server.Addr())
	opts := events.DurableOptions{Partitions: 1, Lease: time.Second}
	cut := durable(t, openWithin(t, 2*time.Second, proxy.URL(), namespace), opts)
	well := durable(t, open(t, server.URL(), namespace), opts)
	started := make(chan struct{}, 1)
	a := subscriber(t, cut, "g", events.SubscriberOptions{DrainTimeout: time.Second, Backoff: soon})
	must(t, notes.Handle(a, "*", func(ctx context.Context, e events.Event[note]) error {
		if e.Attempt == 1 {
			return errors.New("later") // the event is parked
		}
		started <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}))
	run(t, a)
	must(t, notes.Publish(t.Context(), well, "a", note{}))
	<-started
	again := make(chan int, 8)
	b := subscriber(t, well, "g", events.SubscriberOptions{Backoff: soon})
	must(t, notes.Handle(b, "*", func(_ context.Context, e events.Event[note]) error {
		again <- e.Attempt
		return nil
	}))
	run(t, b)

	proxy.Stall()
	select {
	case attempt := <-again:
		if attempt != 3 {
			t.Errorf("attempt %d, want 3", attempt)
		}
	case <-time.After(30 * time.Second):
		t.Error("the partition did not pass on")
	}
	proxy.Resume()
}

// On the embedded engine, a page reads an event that arrived while no page showed its channel.
func TestSSEReadsAnEventThatNoPageShowed(t *testing.T) {
	t.Parallel()
	bus := durable(t, open(t, rig.Embedded(t).URL(), rig.Prefix(t)), events.DurableOptions{Partitions: 1, Retention: time.Hour})
	handler, err := bus.SSE(func(r *http.Request) (string, error) { return r.URL.Query().Get("channel"), nil },
		events.SSEOptions{})
	must(t, err)
	server := httptest.NewServer(handler)
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	other := browse(t, ctx, server.URL+"?channel=other", "")
	var before events.Receipt
	must(t, notes.Publish(t.Context(), bus, "a", note{N: 1}, events.Into(&before)))
	must(t, notes.Publish(t.Context(), bus, "a", note{N: 2}))
	must(t, notes.Publish(t.Context(), bus, "other", note{N: 3}))
	next(t, other) // so the tail has passed the events of a
	page := browse(t, ctx, server.URL+"?channel=a&position="+before.Position, "")
	if got := next(t, page); got.event != "note" || !strings.HasPrefix(got.data, `{"n":2`) {
		t.Errorf("the page got %+v, want the second event", got)
	}
}
