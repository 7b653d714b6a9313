package events_test

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-redisstream/pkg/redisstream"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

func TestMain(m *testing.M) {
	rig.RegisterRole("relay", relay)
	rig.Main(m)
}

const (
	publishers = 128
	channels   = 1024
)

// change is the data of every event, with the same bytes for each library.
type change struct {
	UserID int    `json:"user_id"`
	Text   string `json:"text"`
}

var (
	data    = change{UserID: 42, Text: strings.Repeat("x", 160)}
	plain   = fmt.Sprintf(`{"type":"user.changed","user_id":42,"data":{"user_id":42,"text":"%s"}}`, data.Text)
	changed = events.NewTopic[change]("user.changed")
	names   = func() (all [channels]string) {
		for i := range all {
			all[i] = fmt.Sprintf("users:%d", i)
		}
		return all
	}()
)

func open(b *testing.B, server *rig.Server) *redstart.Client {
	b.Helper()
	client := rigclient.Open(b, server.URL(), "", rigclient.Within(30*time.Second))
	return client
}

// spread publishes b.N events from 128 goroutines. With got it waits until as many events were
// received.
func spread(b *testing.B, server *rig.Server, got *atomic.Int64, publish func(ctx context.Context, channel string) error) {
	b.Helper()
	ctx := context.Background()
	var next, failed atomic.Int64
	before, cpu, serverCPU := server.CommandStats(), processCPU(b), redisCPU(b, server)
	b.SetParallelism(publishers / runtime.GOMAXPROCS(0))
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := publish(ctx, names[next.Add(1)%channels]); err != nil && failed.Add(1) == 1 {
				b.Error(err)
			}
		}
	})
	if got != nil {
		for deadline := time.Now().Add(time.Minute); got.Load() < int64(b.N); runtime.Gosched() {
			if time.Now().After(deadline) {
				b.Fatalf("%d of %d events were received", got.Load(), b.N)
			}
		}
	}
	b.StopTimer()
	// Other work on the machine disturbs processor time less than wall-clock time.
	b.ReportMetric((processCPU(b)-cpu)/float64(b.N), "client-µs/op")
	b.ReportMetric((redisCPU(b, server)-serverCPU)/float64(b.N), "server-µs/op")
	after := server.CommandStats()
	var commands int64
	for name, n := range after {
		if name != "info" && !strings.HasPrefix(name, "client") {
			commands += n - before[name]
		}
	}
	b.ReportMetric(float64(commands)/float64(b.N), "commands/op")
}

// processCPU and redisCPU return the processor time of this process and of the server, in µs.
func processCPU(b *testing.B) float64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1000
}

func redisCPU(b *testing.B, server *rig.Server) (sum float64) {
	b.Helper()
	for _, field := range []string{"used_cpu_user", "used_cpu_sys"} {
		seconds, err := strconv.ParseFloat(server.Info(field), 64)
		if err != nil {
			b.Fatal(err)
		}
		sum += seconds * 1e6
	}
	return sum
}

func run(b *testing.B, sub *events.Subscriber) {
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

func BenchmarkLive(b *testing.B) {
	b.Run("redstart/glob", func(b *testing.B) { liveRedstart(b, "users:*") })
	b.Run("redstart/exact", func(b *testing.B) { liveRedstart(b, names[:]...) })
	b.Run("go-redis", func(b *testing.B) {
		server := rig.Standalone(b)
		client := redis.NewClient(&redis.Options{Addr: server.Addr(), PoolSize: publishers})
		defer client.Close()
		sub := client.PSubscribe(context.Background(), "users:*")
		defer sub.Close()
		if _, err := sub.Receive(context.Background()); err != nil {
			b.Fatal(err)
		}
		var got atomic.Int64
		go func() {
			for m := range sub.Channel(redis.WithChannelSize(1 << 20)) {
				var v map[string]any
				if err := json.Unmarshal([]byte(m.Payload), &v); err != nil {
					b.Error(err)
				}
				got.Add(1)
			}
		}()
		spread(b, server, &got, func(ctx context.Context, channel string) error {
			return client.Publish(ctx, channel, plain).Err()
		})
	})
	b.Run("rueidis", func(b *testing.B) {
		server := rig.Standalone(b)
		client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr()},
			DisableCache: true, PipelineMultiplex: -1})
		if err != nil {
			b.Fatal(err)
		}
		defer client.Close()
		receiver, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr()}, DisableCache: true})
		if err != nil {
			b.Fatal(err)
		}
		defer receiver.Close()
		var got atomic.Int64
		ready := make(chan struct{})
		var once sync.Once
		conn, cancel := receiver.Dedicate()
		defer cancel()
		conn.SetPubSubHooks(rueidis.PubSubHooks{
			OnSubscription: func(rueidis.PubSubSubscription) { once.Do(func() { close(ready) }) },
			OnMessage: func(m rueidis.PubSubMessage) {
				var v map[string]any
				if err := json.Unmarshal([]byte(m.Message), &v); err != nil {
					b.Error(err)
				}
				got.Add(1)
			},
		})
		if err := conn.Do(context.Background(), conn.B().Psubscribe().Pattern("users:*").Build()).Error(); err != nil {
			b.Fatal(err)
		}
		<-ready
		spread(b, server, &got, func(ctx context.Context, channel string) error {
			return client.Do(ctx, client.B().Publish().Channel(channel).Message(plain).Build()).Error()
		})
	})
}

func liveRedstart(b *testing.B, patterns ...string) {
	server := rig.Standalone(b)
	bus, err := events.NewLive(open(b, server), events.LiveOptions{})
	if err != nil {
		b.Fatal(err)
	}
	sub, err := bus.Subscriber("s", events.SubscriberOptions{Queue: 1 << 20, QueueBytes: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	var got atomic.Int64
	for _, p := range patterns {
		if err := changed.Handle(sub, p, func(context.Context,
			events.Event[change]) error {
			got.Add(1)
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	run(b, sub)
	spread(b, server, &got, func(ctx context.Context, channel string) error { return changed.Publish(ctx, bus, channel, data) })
}

func durable(b *testing.B, server *rig.Server) *events.Durable {
	b.Helper()
	bus, err := events.NewDurable(open(b, server), "bus", events.DurableOptions{})
	if err != nil {
		b.Fatal(err)
	}
	return bus
}

func BenchmarkDurablePublish(b *testing.B) {
	b.Run("redstart", func(b *testing.B) {
		server := rig.Standalone(b)
		bus := durable(b, server)
		spread(b, server, nil, func(ctx context.Context,
			channel string) error {
			return changed.Publish(ctx, bus, channel, data)
		})
	})
	b.Run("watermill", func(b *testing.B) {
		server := rig.Standalone(b)
		_, publisher := watermillPublisher(b, server)
		spread(b, server, nil, publisher)
	})
}

func watermillPublisher(b *testing.B, server *rig.Server) (*redis.Client, func(context.Context, string) error) {
	b.Helper()
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), PoolSize: publishers})
	b.Cleanup(func() { client.Close() })
	publisher, err := redisstream.NewPublisher(redisstream.PublisherConfig{Client: client}, watermill.NopLogger{})
	if err != nil {
		b.Fatal(err)
	}
	return client, func(_ context.Context, channel string) error {
		payload, err := json.Marshal(data)
		if err != nil {
			return err
		}
		m := message.NewMessage(watermill.NewUUID(), payload)
		m.Metadata.Set("channel", channel)
		return publisher.Publish("events", m)
	}
}

func BenchmarkDurablePublishAndConsume(b *testing.B) {
	b.Run("redstart", func(b *testing.B) {
		server := rig.Standalone(b)
		bus := durable(b, server)
		sub, err := bus.Subscriber("g", events.SubscriberOptions{})
		if err != nil {
			b.Fatal(err)
		}
		var got atomic.Int64
		if err := changed.Handle(sub, "*", func(context.Context,
			events.Event[change]) error {
			got.Add(1)
			return nil
		}); err != nil {
			b.Fatal(err)
		}
		run(b, sub)
		spread(b, server, &got, func(ctx context.Context,
			channel string) error {
			return changed.Publish(ctx, bus, channel, data)
		})
	})
	b.Run("watermill", func(b *testing.B) {
		server := rig.Standalone(b)
		_, publish := watermillPublisher(b, server)
		client := redis.NewClient(&redis.Options{Addr: server.Addr()})
		subscriber, err := redisstream.NewSubscriber(redisstream.SubscriberConfig{Client: client,
			ConsumerGroup: "g", Consumer: "c"}, watermill.NopLogger{})
		if err != nil {
			b.Fatal(err)
		}
		defer subscriber.Close()
		messages, err := subscriber.Subscribe(context.Background(), "events")
		if err != nil {
			b.Fatal(err)
		}
		var got atomic.Int64
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
		spread(b, server, &got, publish)
	})
}
