package events_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

func TestConfirm(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := open(t, e.URL, e.Namespace)
		bus := durable(t, client, events.DurableOptions{})
		sub, got := counting(t, bus, nil)
		run(t, sub)
		ctx := t.Context()
		must(t, notes.Publish(ctx, bus, "a", note{N: 0}, events.Confirm(events.Confirmation{Timeout: 5 * time.Second})))
		n := 1
		if e.Sentinel != nil || e.Cluster != nil { // these engines have replicas
			for ; n < 4; n++ {
				must(t, notes.Publish(ctx, bus, "a", note{N: n}, events.ID(fmt.Sprint(n)),
					events.Confirm(events.Confirmation{Replicas: 1, Timeout: 5 * time.Second})))
			}
		}
		if e.Embedded == nil {
			err := notes.Publish(ctx, bus, "a", note{N: n},
				events.Confirm(events.Confirmation{Replicas: 9, Timeout: 50 * time.Millisecond}))
			if !errors.Is(err, events.ErrUnconfirmed) {
				t.Errorf("nine replicas confirmed: %v", err)
			}
			n++ // the event is published although Confirm fails
		}
		got.inOrder(t, "a", n)
		if !client.Capabilities().WaitAOF {
			if err := notes.Publish(ctx, bus, "a", note{},
				events.Confirm(events.Confirmation{Disk: true})); err == nil ||
				!strings.Contains(err.Error(), "WAITAOF") {
				t.Errorf("Disk on a server without WAITAOF: %v", err)
			}
		}
	})
}

// Entries of other programs and other releases do not end consumption.
func TestForeignEntries(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	bus := durable(t, open(t, server.URL(), "app"), events.DurableOptions{Partitions: 1})
	sub := subscriber(t, bus, "g", events.SubscriberOptions{MaxAttempts: 2, Backoff: soon, Unhandled: events.DeadLetterUnhandled})
	got := newLog()
	must(t, notes.Handle(sub, "*", func(_ context.Context,
		e events.Event[note]) error {
		got.add(e.Channel, e.Data.N)
		return nil
	}))
	run(t, sub)
	stream := bus.StreamOf("a")
	server.CLI("XADD", stream, "*", "some", "thing")
	server.CLI("XADD", stream, "*", "one", "1", "two", "2", "three", "3")
	server.CLI("XADD", stream, "*", "c", "torn", "e1", `{"specversion":"1.0","id":"1`)
	server.CLI("XADD", stream, "*", "c", "newer", "e2", "a format of the future")
	must(t, events.NewTopic[int]("unhandled").Publish(t.Context(), bus, "unhandled", 1))
	for n := range 10 {
		must(t, notes.Publish(t.Context(), bus, "a", note{N: n}))
		must(t, notes.Publish(t.Context(), bus, "newer", note{N: n})) // waits behind the unknown entry
	}
	got.inOrder(t, "a", 10)
	dead := bus.DeadLetters("g")
	rig.Eventually(t, 10*time.Second, "four dead letters",
		func() bool { n, err := dead.Count(t.Context()); return err == nil && n == 4 })
	letters, err := dead.List(t.Context(), "", 10)
	must(t, err)
	found := map[string]bool{}
	for _, l := range letters {
		found[string(l.Event.Data)+"|"+l.Cause[:min(len(l.Cause), 30)]] = true
	}
	if len(found) != 4 {
		t.Errorf("dead letters %v", found)
	}
	if len(got.of("newer")) != 0 || sub.Stats().Parked < 11 {
		t.Errorf("an event of a newer format was not left alone: %v, %+v", got.of("newer"), sub.Stats())
	}
}

// Names can have any UTF-8 text, and large events need bounded memory.
func TestNamesAndSizes(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := open(t, e.URL, e.Namespace)
		bus := durable(t, client, events.DurableOptions{Partitions: 2, MaxBytes: 2 << 20})
		got := newLog()
		names := []string{"a:b", "a", "{0}", "}:x{", "*", "a b\n\x00c", "é\u2028", `"\`,
			strings.Repeat("x", 1024), "%", "0:retry:g"}
		for _, group := range []string{"g:x", "g", "g%3Ax", "}{*\x00"} {
			sub := subscriber(t, bus, group, events.SubscriberOptions{Backoff: soon})
			var failed atomic.Bool
			must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error {
				if e.Data.N == 0 && !failed.Swap(true) {
					return errors.New("once")
				}
				got.add(group+"|"+e.Channel, e.Data.N)
				return nil
			}))
			run(t, sub)
		}
		for n := range 3 {
			for _, name := range names {
				must(t, notes.Publish(t.Context(), bus, name, note{N: n},
					events.ID(fmt.Sprintf("\x00{%d}:%d:%d*", n, len(name), name[0]))))
			}
		}
		for _, group := range []string{"g:x", "g", "g%3Ax", "}{*\x00"} {
			for _, name := range names {
				got.inOrder(t, group+"|"+name, 3)
			}
		}
		for n := range 6 {
			must(t, notes.Publish(t.Context(), bus, "large", note{N: n, Text: strings.Repeat("x", 1<<20)}))
		}
		got.inOrder(t, "g|large", 6)
		if err := notes.Publish(t.Context(), bus, "large",
			note{Text: strings.Repeat("x", 2<<20)}); !errors.Is(err, redstart.ErrTooLarge) {
			t.Errorf("an event beyond MaxBytes: %v", err)
		}
		long := strings.Repeat("x", 1025)
		for _, bad := range []string{"", long, "a\xff"} {
			err := notes.Publish(t.Context(), bus, bad, note{})
			if err == nil || !strings.Contains(err.Error(), "the channel ") || errors.Is(err, redstart.ErrTooLarge) != (bad == long) {
				t.Errorf("channel %q: %v", bad[:min(len(bad), 3)], err)
			}
		}
	})
}
