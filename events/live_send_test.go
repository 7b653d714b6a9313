package events_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// A lazy client is opened without a server. Its first call after the start of the server publishes
// to the kind of channel that subscribers use. So the event is not lost without an error.
func TestLiveFirstCallOfALazyClientPublishes(t *testing.T) {
	t.Parallel()
	server, namespace := rig.Shared(t), rig.Prefix(t)
	bus := live(t, server.URL(), namespace, events.LiveOptions{})
	sub := subscriber(t, bus, "s", events.SubscriberOptions{})
	got := newLog()
	must(t, notes.Handle(sub, "a", func(_ context.Context,
		e events.Event[note]) error {
		got.add(e.Channel, e.Data.N)
		return nil
	}))
	run(t, sub)

	proxy := rig.NewProxy(t, server.Addr())
	proxy.Refuse()
	client, err := redstart.Open(t.Context(), redstart.Config{URL: proxy.URL(), Namespace: namespace,
		CommandTimeout: 10 * time.Second, Lazy: true})
	must(t, err)
	t.Cleanup(func() { must(t, client.Close()) })
	lazy, err := events.NewLive(client, events.LiveOptions{})
	must(t, err)
	must(t, proxy.Accept())
	rig.Eventually(t, 20*time.Second, "an event is published",
		func() bool { return notes.Publish(t.Context(), lazy, "a", note{}) == nil })
	got.inOrder(t, "a", 1)
}

// Small and large events of a channel reach exact and glob handlers in the order of their
// publication.
func TestLiveSizesKeepOrder(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		bus := live(t, e.URL, e.Namespace, events.LiveOptions{})
		exact, glob := newLog(), newLog()
		for pattern, seen := range map[string]*record{"users:1": exact, "users:*": glob} {
			sub := subscriber(t, bus, "s", events.SubscriberOptions{})
			must(t, notes.Handle(sub, pattern, func(_ context.Context, e events.Event[note]) error {
				if e.Data.N%2 == 1 && len(e.Data.Text) != 100<<10 {
					t.Errorf("event %d has %d bytes of text", e.Data.N, len(e.Data.Text))
				}
				seen.add(e.Channel, e.Data.N)
				return nil
			}))
			run(t, sub)
		}
		large := strings.Repeat("x", 100<<10)
		for n := range 20 {
			must(t, notes.Publish(t.Context(), bus, "users:1", note{N: n, Text: large[:n%2*len(large)]}))
		}
		exact.inOrder(t, "users:1", 20)
		glob.inOrder(t, "users:1", 20)
	})
}

// The text of a large event travels to the server once, although it is published to two channels.
func TestLiveLargeEventTravelsOnce(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	proxy := rig.NewProxy(t, server.Addr())
	bus := live(t, proxy.URL(), rig.Prefix(t), events.LiveOptions{})
	text := strings.Repeat("x", 512<<10)
	must(t, notes.Publish(t.Context(), bus, "a", note{Text: text})) // the server has the script from now on
	before := proxy.Sent()
	must(t, notes.Publish(t.Context(), bus, "a", note{Text: text}))
	if sent := proxy.Sent() - before; sent < int64(len(text)) || sent > int64(len(text))*5/4 {
		t.Errorf("an event of %d bytes took %d bytes to the server, want them once", len(text), sent)
	}
}

// A user without permission for a channel gets ErrDenied, for small and large events.
func TestLivePublishDenied(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	server.CLI("ACL", "SETUSER", "u", "on", ">p", "~*", "+@all", "resetchannels")
	bus := live(t, server.URLAs("u", "p"), "app", events.LiveOptions{})
	for _, size := range []int{0, 100 << 10} {
		if err := notes.Publish(t.Context(), bus, "a", note{Text: strings.Repeat("x", size)}); !errors.Is(err,
			redstart.ErrDenied) {
			t.Errorf("%d bytes: %v, want ErrDenied", size, err)
		}
	}
}
