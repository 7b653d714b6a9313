package events_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/failpoint"
	"github.com/redstart-go/redstart/internal/rig"
)

var (
	paid     = events.NewTopic[note]("paid")
	refunded = events.NewTopic[note]("refunded")
)

// logText is a log that a test can read.
type logText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) has(parts ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		all := true
		for _, part := range parts {
			all = all && strings.Contains(line, part)
		}
		if all {
			return true
		}
	}
	return false
}

// version is a process that handles some topics.
type version struct {
	bus *events.Durable
	sub *events.Subscriber
	got *record
	log *logText
}

func newVersion(t *testing.T, e rig.Engine, opts events.SubscriberOptions, topics ...events.Topic[note]) *version {
	t.Helper()
	v := &version{got: newLog(), log: new(logText)}
	client, err := redstart.Open(t.Context(), redstart.Config{URL: e.URL, Namespace: e.Namespace,
		CommandTimeout: 10 * time.Second,
		Logger:         slog.New(slog.NewTextHandler(v.log, nil))})
	must(t, err)
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	v.bus = durable(t, client, events.DurableOptions{Lease: time.Second})
	v.sub = subscriber(t, v.bus, "g", opts)
	for _, topic := range topics {
		must(t, topic.Handle(v.sub, "*", func(_ context.Context, e events.Event[note]) error {
			v.got.add(topic.Type()+" "+e.Channel, e.Attempt)
			return nil
		}))
	}
	return v
}

// In a rolling deploy, only the new version handles a topic. The old version leaves these events to
// the new version, in order, and no attempt is counted.
func TestE1_AnotherVersionsTopicIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		const channels = 20
		older := newVersion(t, e, events.SubscriberOptions{}, paid)
		stop := run(t, older.sub)
		newer := newVersion(t, e, events.SubscriberOptions{}, paid, refunded)
		run(t, newer.sub)
		for i := range channels {
			must(t, refunded.Publish(t.Context(), newer.bus, fmt.Sprint("c", i), note{}))
			must(t, paid.Publish(t.Context(), newer.bus, fmt.Sprint("c", i), note{}))
		}
		rig.Eventually(t, 20*time.Second, "events left to the new version, and none behind them handled", func() bool {
			return older.sub.Stats().Deferred > 0 && newer.got.total() > 0
		})
		stop()
		rig.Eventually(t, 30*time.Second, "all events", func() bool { return newer.got.total()+older.got.total() == 2*channels })
		for i := range channels {
			for _, topic := range []string{"refunded", "paid"} {
				if got := newer.got.of(fmt.Sprint(topic, " c", i)); len(got) != 1 || got[0] != 1 {
					t.Errorf("%s of channel %d: attempts %v in the new version, want the first attempt alone", topic, i, got)
				}
			}
		}
		if n := older.sub.Stats().Unhandled; n != 0 {
			t.Errorf("the old version acknowledged %d events that it does not know", n)
		}
	})
}

// An event that no version of the group handles is acknowledged and counted.
func TestUnknownTopicsAreAcknowledged(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		a := newVersion(t, e, events.SubscriberOptions{}, paid)
		run(t, a.sub)
		b := newVersion(t, e, events.SubscriberOptions{}, paid, refunded)
		run(t, b.sub)
		for i := range 20 {
			must(t, notes.Publish(t.Context(), a.bus, fmt.Sprint("c", i), note{}))
		}
		rig.Eventually(t, 20*time.Second, "all acknowledged",
			func() bool { return a.sub.Stats().Unhandled+b.sub.Stats().Unhandled == 20 })
		if n := a.sub.Stats().Deferred + b.sub.Stats().Deferred; n != 0 {
			t.Errorf("%d were deferred", n)
		}
	})
}

// Two subscribers of one group handle different topics permanently. Both log a warning. After some
// time, an event that only the other one handles becomes a dead letter with the reason. No event is
// acknowledged without a handler.
func TestE1_DifferentTopicsForGoodAreDeadLetters(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		const each = 50
		a, b := newVersion(t, e, events.SubscriberOptions{}, paid), newVersion(t, e, events.SubscriberOptions{}, refunded)
		for _, v := range []*version{a, b} { // the owner of the event's partition examines it
			t.Cleanup(v.bus.Points().Arm("differ", failpoint.Lasts(2*time.Second)))
		}
		run(t, a.sub)
		run(t, b.sub)
		for i := range each {
			must(t, paid.Publish(t.Context(), a.bus, fmt.Sprint("p", i), note{}))
			must(t, refunded.Publish(t.Context(), a.bus, fmt.Sprint("r", i), note{}))
		}
		dead := a.bus.DeadLetters("g")
		rig.Eventually(t, 30*time.Second, "all handled or dead letters", func() bool {
			n, err := dead.Count(t.Context())
			return err == nil && n > 0 && a.got.total()+b.got.total()+n == 2*each
		})
		if n := a.sub.Stats().Unhandled + b.sub.Stats().Unhandled; n != 0 {
			t.Errorf("%d events were acknowledged unhandled", n)
		}
		letters, err := dead.List(t.Context(), "", 1)
		must(t, err)
		if len(letters) != 1 || !strings.Contains(letters[0].Cause, "another process of the group handles the event") {
			t.Errorf("dead letters %+v", letters)
		}
		for _, v := range []*version{a, b} {
			rig.Eventually(t, 10*time.Second, "a warning", func() bool {
				return v.log.has("level=WARN", "handle different topics", "paid", "refunded")
			})
		}
	})
}

// A version without a process is remembered. An event that only this version handled becomes a dead
// letter, after the time in which the version could return.
func TestE1_TopicOfAVersionThatHasLeft(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		stays := newVersion(t, e, events.SubscriberOptions{}, paid)
		rig.Arm(t, stays.bus.Points(), "return", failpoint.Lasts(time.Second))
		run(t, stays.sub)
		leaves := newVersion(t, e, events.SubscriberOptions{}, paid, refunded)
		run(t, leaves.sub)()
		must(t, refunded.Publish(t.Context(), stays.bus, "r", note{}))
		rig.Eventually(t, 20*time.Second, "a dead letter",
			func() bool { n, err := stays.bus.DeadLetters("g").Count(t.Context()); return err == nil && n == 1 })
		if s := stays.sub.Stats(); s.Deferred == 0 || s.Unhandled != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

// Within one process, a difference is a mistake and not a deploy. Run refuses it.
func TestOneProcessHandlesTheSameTopics(t *testing.T) {
	t.Parallel()
	bus := durable(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), events.DurableOptions{})
	nothing := func(context.Context, events.Event[note]) error { return nil }
	first, same, other := subscriber(t, bus, "g", events.SubscriberOptions{}),
		subscriber(t, bus, "g", events.SubscriberOptions{}), subscriber(t, bus, "g", events.SubscriberOptions{})
	for _, topic := range []events.Topic[note]{paid, refunded} {
		must(t, topic.Handle(first, "*", nothing))
	}
	for _, topic := range []events.Topic[note]{refunded, paid, paid} { // order and repetitions make no difference
		must(t, topic.Handle(same, "*", nothing))
	}
	must(t, paid.Handle(other, "*", nothing))
	run(t, first)
	run(t, same)
	if err := other.Run(t.Context()); !errors.Is(err, events.ErrTopics) {
		t.Errorf("Run: %v, want ErrTopics", err)
	}
}

// The server keeps at most 16 versions of a group, with at most 16 KiB of handlers each. It removes
// versions without processes.
func TestTopicsAreBounded(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := open(t, e.URL, e.Namespace)
		bus := durable(t, client, events.DurableOptions{})
		for i := range 40 {
			sub := subscriber(t, bus, "g", events.SubscriberOptions{})
			for j := range 1 + 100*(i%2) {
				must(t, paid.Handle(sub, fmt.Sprint(i, ":", j, strings.Repeat("x", 500)),
					func(context.Context, events.Event[note]) error { return nil }))
			}
			run(t, sub)()
		}
		versions, bytes, err := bus.TopicsOf(t.Context(), "g")
		must(t, err)
		if versions != 16 || bytes > 16*17<<10 {
			t.Errorf("%d versions, %d bytes", versions, bytes)
		}
	})
}

// A full server accepts the topics of a group, because consumption makes room.
func TestTopicsOnAFullServer(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	e := rig.Engine{URL: server.URL(), Namespace: "full"}
	older := newVersion(t, e, events.SubscriberOptions{}, paid)
	run(t, older.sub)
	must(t, refunded.Publish(t.Context(), older.bus, "a", note{}))
	rig.Eventually(t, 10*time.Second, "the event is unknown so far", func() bool { return older.sub.Stats().Unhandled == 1 })
	server.CLI("CONFIG", "SET", "maxmemory", "1")
	newer := newVersion(t, e, events.SubscriberOptions{}, paid, refunded)
	run(t, newer.sub)
	server.CLI("CONFIG", "SET", "maxmemory", "0")
	must(t, refunded.Publish(t.Context(), older.bus, "a", note{}))
	rig.Eventually(t, 20*time.Second, "deferred or handled",
		func() bool { return older.sub.Stats().Deferred+newer.sub.Stats().Handled > 0 })
	if n := older.sub.Stats().Unhandled; n != 1 {
		t.Errorf("the old version acknowledged %d", n)
	}
}
