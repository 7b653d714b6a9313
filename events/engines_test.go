package events_test

import (
	"context"
	"errors"
	"fmt"
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
