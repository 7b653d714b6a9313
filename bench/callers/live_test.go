package callers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redstart-go/redstart/bench/callers"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// change is the data of every event.
type change struct {
	UserID int    `json:"user_id"`
	Text   string `json:"text"`
}

var changed = events.NewTopic[change]("user.changed")

// frame is the size of a change without text, as JSON.
const frame = len(`{"user_id":42,"text":""}`)

// changeOf returns data of the given size as JSON.
func changeOf(size int) change {
	return change{UserID: 42, Text: strings.Repeat("x", size-frame)}
}

// checkText fails if an event came with other data than [changeOf] returns.
func checkText(b *testing.B, got change, c callers.Case) {
	if got.UserID != 42 || len(got.Text) != c.Bytes-frame {
		b.Errorf("an event of user %d with %d bytes of text, want user 42 and %d bytes", got.UserID, len(got.Text), c.Bytes-frame)
	}
}

// arrivals notifies each publisher that its event was handled. Each publisher has its own channel
// and waits for its event before it publishes the next one.
type arrivals struct {
	prefix string
	came   []chan struct{}
}

func newArrivals(b *testing.B, c callers.Case) *arrivals {
	a := &arrivals{prefix: rig.Prefix(b) + ":", came: make([]chan struct{}, c.Callers)}
	for i := range a.came {
		a.came[i] = make(chan struct{}, 1)
	}
	return a
}

// channels returns the channel of each publisher.
func (a *arrivals) channels() (all []string) {
	for i := range a.came {
		all = append(all, a.prefix+strconv.Itoa(i))
	}
	return all
}

// handled notifies the publisher of a channel.
func (a *arrivals) handled(b *testing.B, channel string) {
	caller, err := strconv.Atoi(strings.TrimPrefix(channel, a.prefix))
	if err != nil {
		b.Error(err)
		return
	}
	select {
	case a.came[caller] <- struct{}{}:
	default: // a durable event that was delivered again
	}
}

// wait waits for the event of a publisher.
func (a *arrivals) wait(caller int) error {
	late := time.NewTimer(30 * time.Second)
	defer late.Stop()
	select {
	case <-a.came[caller]:
		return nil
	case <-late.C:
		return fmt.Errorf("the event of publisher %d was not handled within 30 s", caller)
	}
}

// delivery publishes to the channel of the caller and waits for the event.
func (a *arrivals) delivery(publish func(channel string) error) operation {
	channels := a.channels()
	return func(caller int, _ int64, _ func() bool) error {
		if err := publish(channels[caller]); err != nil {
			return err
		}
		return a.wait(caller)
	}
}

// runSubscriber runs a subscriber until the end of the benchmark.
func runSubscriber(b *testing.B, sub *events.Subscriber) {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- sub.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	<-sub.Ready()
}

func liveDelivery(b *testing.B, p place, c callers.Case) operation {
	bus, err := events.NewLive(p.client(b), events.LiveOptions{MaxBytes: 2 << 20})
	if err != nil {
		b.Fatal(err)
	}
	sub, err := bus.Subscriber("s", events.SubscriberOptions{QueueBytes: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	a, data := newArrivals(b, c), changeOf(c.Bytes)
	for _, channel := range a.channels() {
		if err := changed.Handle(sub, channel, func(_ context.Context, e events.Event[change]) error {
			checkText(b, e.Data, c)
			a.handled(b, e.Channel)
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	runSubscriber(b, sub)
	return a.delivery(func(channel string) error { return changed.Publish(context.Background(), bus, channel, data) })
}

func rivalLive(b *testing.B, p place, c callers.Case) operation {
	client, a, data := p.goredis(b), newArrivals(b, c), changeOf(c.Bytes)
	sub := client.Subscribe(context.Background(), a.channels()...)
	for range a.channels() {
		if _, err := sub.Receive(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for m := range sub.Channel(redis.WithChannelSize(1 << 10)) {
			var got struct{ Data change }
			if err := json.Unmarshal([]byte(m.Payload), &got); err != nil {
				b.Error(err)
			}
			checkText(b, got.Data, c)
			a.handled(b, m.Channel)
		}
	}()
	b.Cleanup(func() { _ = sub.Close(); <-done })
	return a.delivery(func(channel string) error {
		text, err := json.Marshal(struct {
			Type string `json:"type"`
			Data change `json:"data"`
		}{"user.changed", data})
		if err != nil {
			return err
		}
		return client.Publish(context.Background(), channel, text).Err()
	})
}
