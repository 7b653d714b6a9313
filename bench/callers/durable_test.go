package callers_test

import (
	"context"
	"encoding/json"
	"strconv"
	"testing"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-redisstream/pkg/redisstream"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/redstart-go/redstart/bench/callers"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// maxStored bounds the bytes of the events that one stream keeps.
const maxStored = 64_000_000

// maxLen returns how many events a stream keeps.
func maxLen(size int) int64 { return int64(max(256, maxStored/size)) }

func durableBus(b *testing.B, p place, c callers.Case) *events.Durable {
	opts := events.DurableOptions{Partitions: 4, MaxLen: maxLen(c.Bytes)}
	if c.Bytes > 100_000 {
		opts.MaxBytes = 2 << 20
	}
	bus, err := events.NewDurable(p.client(b), "bus", opts)
	if err != nil {
		b.Fatal(err)
	}
	return bus
}

func durablePublish(b *testing.B, p place, c callers.Case) operation {
	bus, data := durableBus(b, p, c), changeOf(c.Bytes)
	return func(caller int, _ int64, _ func() bool) error {
		return changed.Publish(context.Background(), bus, "users:"+strconv.Itoa(caller), data)
	}
}

func durableConsume(b *testing.B, p place, c callers.Case) operation {
	bus, data := durableBus(b, p, c), changeOf(c.Bytes)
	sub, err := bus.Subscriber("g", events.SubscriberOptions{})
	if err != nil {
		b.Fatal(err)
	}
	a := newArrivals(b, c)
	if err := changed.Handle(sub, "*", func(_ context.Context, e events.Event[change]) error {
		checkText(b, e.Data, c)
		a.handled(b, e.Channel)
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	runSubscriber(b, sub)
	return a.delivery(func(channel string) error { return changed.Publish(context.Background(), bus, channel, data) })
}

// watermillPublisher publishes to one topic, with the channel as metadata.
func watermillPublisher(b *testing.B, p place, c callers.Case) (topic string, publish func(channel string) error) {
	topic = rig.Prefix(b)
	publisher, err := redisstream.NewPublisher(redisstream.PublisherConfig{Client: p.goredis(b),
		Maxlens: map[string]int64{topic: maxLen(c.Bytes)}}, watermill.NopLogger{})
	if err != nil {
		b.Fatal(err)
	}
	data := changeOf(c.Bytes)
	return topic, func(channel string) error {
		payload, err := json.Marshal(data)
		if err != nil {
			return err
		}
		m := message.NewMessage(watermill.NewUUID(), payload)
		m.Metadata.Set("channel", channel)
		return publisher.Publish(topic, m)
	}
}

func rivalPublish(b *testing.B, p place, c callers.Case) operation {
	_, publish := watermillPublisher(b, p, c)
	return func(caller int, _ int64, _ func() bool) error { return publish("users:" + strconv.Itoa(caller)) }
}

func rivalConsume(b *testing.B, p place, c callers.Case) operation {
	topic, publish := watermillPublisher(b, p, c)
	subscriber, err := redisstream.NewSubscriber(redisstream.SubscriberConfig{Client: p.goredis(b),
		ConsumerGroup: "g", Consumer: "c"}, watermill.NopLogger{})
	if err != nil {
		b.Fatal(err)
	}
	messages, err := subscriber.Subscribe(context.Background(), topic)
	if err != nil {
		b.Fatal(err)
	}
	a, done := newArrivals(b, c), make(chan struct{})
	go func() {
		defer close(done)
		for m := range messages {
			var got change
			if err := json.Unmarshal(m.Payload, &got); err != nil {
				b.Error(err)
			}
			checkText(b, got, c)
			m.Ack()
			a.handled(b, m.Metadata.Get("channel"))
		}
	}()
	b.Cleanup(func() {
		if err := subscriber.Close(); err != nil {
			b.Error(err)
		}
		<-done
	})
	return a.delivery(publish)
}
