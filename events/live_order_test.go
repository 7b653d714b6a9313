package events_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// The handlers of an event run in the order of their registration, exact or glob, up to the first
// error.
func TestLiveHandlersRunInOrder(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		bus := live(t, e.URL, e.Namespace, events.LiveOptions{})
		sub := subscriber(t, bus, "s", events.SubscriberOptions{})
		var mu sync.Mutex
		var ran []string
		add := func(pattern, name string, err error) {
			must(t, notes.Handle(sub, pattern, func(context.Context, events.Event[note]) error {
				mu.Lock()
				defer mu.Unlock()
				ran = append(ran, name)
				return err
			}))
		}
		add("a*", "1 glob", nil)
		add("a", "2 exact", nil)
		add("*", "3 glob", nil)
		add("a", "4 exact", errors.New("stop"))
		add("a*", "5 glob", nil)
		run(t, sub)
		for range 20 {
			must(t, notes.Publish(t.Context(), bus, "a", note{}))
			must(t, notes.Publish(t.Context(), bus, "ab", note{}))
		}
		rig.Eventually(t, 20*time.Second, "all handlers",
			func() bool { mu.Lock(); defer mu.Unlock(); return len(ran) >= 20*(4+3) })
		mu.Lock()
		defer mu.Unlock()
		count := map[string]int{}
		for _, name := range ran {
			count[name]++
		}
		if count["1 glob"] != 40 || count["2 exact"] != 20 || count["3 glob"] != 40 ||
			count["4 exact"] != 20 || count["5 glob"] != 20 {
			t.Errorf("%v", count)
		}
		exact := slices.DeleteFunc(slices.Clone(ran), func(name string) bool { return name[2:] != "exact" })
		for i, name := range exact {
			if want := []string{"2 exact", "4 exact"}[i%2]; name != want {
				t.Fatalf("%v", exact)
			}
		}
	})
}

// A panic of the answering handler is sent as the answer.
func TestAnswerThatPanicsAnswers(t *testing.T) {
	t.Parallel()
	bus := live(t, rig.Shared(t).URL(), rig.Prefix(t), events.LiveOptions{})
	sub := subscriber(t, bus, "s", events.SubscriberOptions{})
	topic := events.NewTopic[int]("x")
	must(t, events.Answer(sub, topic, "c", func(context.Context, events.Event[int]) (int, error) { panic("no idea") }))
	run(t, sub)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := events.Request[int, int](ctx, bus, topic, "c", 1); !errors.Is(err, events.ErrRemote) ||
		!strings.Contains(err.Error(), "no idea") {
		t.Errorf("%v, want ErrRemote with the panic's value", err)
	}
	rig.Eventually(t, 10*time.Second, "the panic is counted", func() bool { return sub.Stats().Panics == 1 })
}

// The server refuses a subscription, and Run returns the error.
func TestLiveRunReturnsTheRefusal(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	server.CLI("ACL", "SETUSER", "u", "on", ">p", "~*", "+@all", "resetchannels")
	bus := live(t, server.URLAs("u", "p"), "app", events.LiveOptions{})
	sub := subscriber(t, bus, "s", events.SubscriberOptions{})
	must(t, notes.Handle(sub, "a", func(context.Context, events.Event[note]) error { return nil }))
	if err := sub.Run(t.Context()); !errors.Is(err, redstart.ErrDenied) {
		t.Errorf("Run: %v, want ErrDenied", err)
	}
}

// After a reconnect, the server refuses one channel. The loss of the other channel is reported at
// once. The loss of the refused channel is reported when the server allows it again.
func TestE5_RefusedChannelHidesNoGap(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	server.CLI("ACL", "SETUSER", "u", "on", ">p", "~*", "+@all", "allchannels")
	bus := live(t, server.URLAs("u", "p"), "app", events.LiveOptions{})
	var gaps, own atomic.Int64
	sub := subscriber(t, bus, "s", events.SubscriberOptions{OnGap: func(g events.Gap) {
		if g.Channel == "b" {
			own.Add(1)
		}
		gaps.Add(1)
	}})
	for _, channel := range []string{"a", "b"} {
		must(t, notes.Handle(sub, channel, func(context.Context, events.Event[note]) error { return nil }))
	}
	run(t, sub)
	server.CLI("ACL", "SETUSER", "u", "resetchannels", "&"+bus.ServerChannel("a")) // the server ends the connection
	rig.Eventually(t, 20*time.Second, "a gap", func() bool { return gaps.Load() == 1 })
	server.CLI("ACL", "SETUSER", "u", "allchannels")
	rig.Eventually(t, 20*time.Second, "the other's gap", func() bool { return own.Load() == 1 && gaps.Load() == 2 })
}
