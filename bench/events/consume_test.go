package events_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-redisstream/pkg/redisstream"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// BenchmarkDurableConsume measures how fast one process decodes, handles and acknowledges stored
// events with 100 bytes of data. It varies the partitions and the subscribers of the group. The
// rival is watermill-redisstream with one topic and with sixteen. The subscribers own their
// partitions before the measurement, and hold up to 512 events of each.
func BenchmarkDurableConsume(b *testing.B) {
	for _, c := range []struct{ partitions, consumers int }{{4, 1}, {4, 2}, {16, 1}, {16, 2}} {
		b.Run(fmt.Sprintf("redstart/partitions=%d/consumers=%d", c.partitions, c.consumers), func(b *testing.B) {
			consumeRedstart(b, c.partitions, c.consumers)
		})
	}
	for _, topics := range []int{1, 16} {
		b.Run(fmt.Sprintf("watermill/topics=%d", topics), func(b *testing.B) { consumeWatermill(b, topics) })
	}
}

var small = change{UserID: 42, Text: strings.Repeat("x", 76)} // 100 bytes of JSON

// consumed measures from start until b.N events were handled.
func consumed(b *testing.B, server *rig.Server, got *atomic.Int64, start func()) {
	b.Helper()
	cpu, serverCPU := processCPU(b), redisCPU(b, server)
	b.ReportAllocs()
	b.ResetTimer()
	start()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(5 * time.Minute); got.Load() < int64(b.N); <-tick.C {
		if time.Now().After(deadline) {
			b.Fatalf("%d of %d events were handled", got.Load(), b.N)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric((processCPU(b)-cpu)/float64(b.N), "client-µs/op")
	b.ReportMetric((redisCPU(b, server)-serverCPU)/float64(b.N), "server-µs/op")
}

func consumeRedstart(b *testing.B, partitions, consumers int) {
	server := rig.Standalone(b)
	client := open(b, server)
	bus, err := events.NewDurable(client, "bus", events.DurableOptions{Partitions: partitions})
	if err != nil {
		b.Fatal(err)
	}
	var got atomic.Int64
	var subs []*events.Subscriber
	gate := make(chan struct{})
	for range consumers {
		sub, err := bus.Subscriber("g", events.SubscriberOptions{Start: events.FromBeginning()})
		if err != nil {
			b.Fatal(err)
		}
		if err := changed.Handle(sub, "*", func(context.Context,
			events.Event[change]) error {
			<-gate
			got.Add(1)
			return nil
		}); err != nil {
			b.Fatal(err)
		}
		run(b, sub)
		subs = append(subs, sub)
	}
	rig.Eventually(b, 30*time.Second, "the subscribers share the partitions", func() bool {
		for _, sub := range subs {
			if sub.Stats().Partitions != int64(partitions/consumers) {
				return false
			}
		}
		return true
	})
	const piece = 1000
	for n := 0; n < b.N; n += piece {
		var batch events.Batch
		for i := n; i < min(n+piece, b.N); i++ {
			changed.AddToBatch(&batch, names[i%channels], small)
		}
		if err := bus.PublishBatch(context.Background(), &batch); err != nil {
			b.Fatal(err)
		}
	}
	consumed(b, server, &got, func() { close(gate) })
}

func consumeWatermill(b *testing.B, topics int) {
	server := rig.Standalone(b)
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	b.Cleanup(func() { client.Close() })
	payload, err := json.Marshal(small)
	if err != nil {
		b.Fatal(err)
	}
	const piece = 1000
	for n := 0; n < b.N; n += piece {
		pipe := client.Pipeline()
		for i := n; i < min(n+piece, b.N); i++ {
			m := message.NewMessage(watermill.NewUUID(), payload)
			m.Metadata.Set("channel", names[i%channels])
			values, err := redisstream.DefaultMarshallerUnmarshaller{}.Marshal("", m)
			if err != nil {
				b.Fatal(err)
			}
			pipe.XAdd(context.Background(), &redis.XAddArgs{Stream: fmt.Sprint("events", i%topics), Values: values})
		}
		if _, err := pipe.Exec(context.Background()); err != nil {
			b.Fatal(err)
		}
	}

	var got atomic.Int64
	subscriber, err := redisstream.NewSubscriber(redisstream.SubscriberConfig{Client: client,
		ConsumerGroup: "g", Consumer: "c"}, watermill.NopLogger{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { subscriber.Close() })
	consumed(b, server, &got, func() {
		for topic := range topics {
			messages, err := subscriber.Subscribe(context.Background(), fmt.Sprint("events", topic))
			if err != nil {
				b.Fatal(err)
			}
			go func() {
				for m := range messages {
					var c change
					if err := json.Unmarshal(m.Payload, &c); err != nil {
						b.Error(err)
					}
					m.Ack()
					got.Add(1)
				}
			}()
		}
	})
}
