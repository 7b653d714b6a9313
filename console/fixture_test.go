package console_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/codec"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/session"
)

// hostile is a name with HTML, quotes, a control character, a mark that reverses text and an
// invalid byte.
const hostile = "<script>alert(1)</script>\"'&\x1b[31m\u202e\xff"

// shownHostile is hostile as a page shows it.
const shownHostile = `&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&amp;\x1b[31m\u202e\xff`

// text is hostile as valid UTF-8, which events require.
var text = strings.ToValidUTF8(hostile, "")

func must[T any](v T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// hold takes a lock until the test ends.
func hold(t testing.TB, client *redstart.Client, name string) *lock.Lock {
	t.Helper()
	locker := must(lock.New(client, lock.Options{TTL: time.Minute, Process: "holder-1"}))(t)
	held := must(locker.Acquire(t.Context(), name))(t)
	t.Cleanup(func() {
		if err := held.Release(context.Background()); err != nil && !errors.Is(err, lock.ErrLost) {
			t.Error(err)
		}
	})
	return held
}

// queue adds a waiter to a lock until the test ends.
func queue(t testing.TB, client *redstart.Client, name string) {
	t.Helper()
	locker := must(lock.New(client, lock.Options{Wait: lock.WaitForever, Process: "waiter-1"}))(t)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if held, err := locker.Acquire(ctx, name); err == nil {
			_ = held.Release(context.Background()) // it may have been broken
		}
	}()
	t.Cleanup(func() { stop(); <-done })
	rig.Eventually(t, 10*time.Second, "the waiter is in the queue", func() bool {
		info, err := locker.Inspect(t.Context(), name)
		return err == nil && info.Waiting == 1
	})
}

// die makes dead letters of a group, with the given channels.
func die(t testing.TB, client *redstart.Client, bus, group string, channels ...string) *events.Durable {
	t.Helper()
	d := must(events.NewDurable(client, bus, events.DurableOptions{Partitions: 2}))(t)
	sub := must(d.Subscriber(group, events.SubscriberOptions{}))(t)
	topic := events.NewTopic[string]("order." + text)
	err := topic.Handle(sub, "*", func(context.Context, events.Event[string]) error {
		return events.Discard(errors.New("cause " + hostile))
	})
	must(0, err)(t)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- sub.Run(ctx) }()
	<-sub.Ready()
	for _, channel := range channels {
		must(0, topic.Publish(t.Context(), d, channel, "data "+hostile))(t)
	}
	rig.Eventually(t, 10*time.Second, "all events are dead letters", func() bool {
		g, err := d.Group(t.Context(), group)
		return err == nil && g.Dead == int64(len(channels))
	})
	stop()
	must(0, <-done)(t)
	return d
}

// logIn makes sessions of a user.
func logIn(t testing.TB, client *redstart.Client, manager, user string, n int) *session.Manager[string] {
	t.Helper()
	m := must(session.New[string](client, manager, session.Options{}))(t)
	for range n {
		must(m.Create(t.Context(), user, "", session.Device(hostile, "192.0.2.7")))(t)
	}
	return m
}

// charge charges a key of a limiter that allows two requests per hour.
func charge(t testing.TB, client *redstart.Client, name, key string, n int) {
	t.Helper()
	limiter := must(ratelimit.New(client, name, ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(2)}}))(t)
	for range n {
		must(limiter.Allow(t.Context(), key))(t)
	}
}

// fill stores a value in a cache.
func fill(t testing.TB, client *redstart.Client, name, key string) {
	t.Helper()
	users := must(cache.New[string](client, name, cache.Options{Codec: codec.Raw}))(t)
	must(0, users.Set(t.Context(), key, "value "+hostile))(t)
}
