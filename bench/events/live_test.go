package events_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// BenchmarkLiveDelivery measures one live event from Publish to a handler that has decoded it. Each
// publisher has a channel, and waits for its event before it publishes the next one. One publisher
// shows the latency, 128 show the rate. The subscriptions are one exact channel per publisher, or
// one glob. The rivals use SUBSCRIBE and PSUBSCRIBE and decode the same struct.
func BenchmarkLiveDelivery(b *testing.B) {
	server := rig.Standalone(b)
	for _, size := range []int{10, 1 << 10, 100 << 10} {
		for _, publishers := range []int{1, 4, 16, 128} {
			for _, how := range []string{"exact", "glob"} {
				for _, rival := range []struct {
					name string
					open func(b *testing.B, d *delivery)
				}{{"redstart", deliverRedstart}, {"rueidis", deliverRueidis}, {"go-redis", deliverGoRedis}} {
					b.Run(fmt.Sprintf("size=%d/publishers=%d/%s/%s", size, publishers, how, rival.name), func(b *testing.B) {
						d := &delivery{server: server, glob: how == "glob", prefix: rig.Prefix(b),
							data: change{UserID: 42, Text: strings.Repeat("x", size)}}
						for i := range publishers {
							d.channels = append(d.channels, fmt.Sprintf("%s:users:%d", d.prefix, i))
							d.came = append(d.came, make(chan struct{}, 1))
						}
						rival.open(b, d)
						d.run(b)
					})
				}
			}
		}
	}
}

// delivery is one way to transport events.
type delivery struct {
	server   *rig.Server
	prefix   string
	glob     bool
	data     change
	channels []string
	came     []chan struct{} // receives for each event of the channel
	publish  func(ctx context.Context, channel string) error
}

// patterns are the subscriptions of a subscriber.
func (d *delivery) patterns() []string {
	if d.glob {
		return []string{d.prefix + ":*"}
	}
	return d.channels
}

// arrived handles a message of a rival.
func (d *delivery) arrived(b *testing.B, channel, text string) {
	var got struct{ Data change }
	if err := json.Unmarshal([]byte(text), &got); err != nil || len(got.Data.Text) != len(d.data.Text) {
		b.Errorf("%d bytes of text, %v", len(got.Data.Text), err)
	}
	d.signal(channel)
}

func (d *delivery) signal(channel string) {
	var i int
	if _, err := fmt.Sscanf(channel[len(d.prefix):], ":users:%d", &i); err != nil {
		panic(err)
	}
	d.came[i] <- struct{}{}
}

func (d *delivery) run(b *testing.B) {
	ctx := context.Background()
	var next atomic.Int64
	var wg sync.WaitGroup
	cpu, serverCPU := processCPU(b), redisCPU(b, d.server)
	b.SetBytes(int64(len(d.data.Text)))
	b.ReportAllocs()
	b.ResetTimer()
	for i, channel := range d.channels {
		wg.Go(func() {
			for next.Add(1) <= int64(b.N) {
				if err := d.publish(ctx, channel); err != nil {
					b.Error(err)
					return
				}
				<-d.came[i]
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric((processCPU(b)-cpu)/float64(b.N), "client-µs/op")
	b.ReportMetric((redisCPU(b, d.server)-serverCPU)/float64(b.N), "server-µs/op")
}

func deliverRedstart(b *testing.B, d *delivery) {
	bus, err := events.NewLive(open(b, d.server), events.LiveOptions{})
	if err != nil {
		b.Fatal(err)
	}
	sub, err := bus.Subscriber("s", events.SubscriberOptions{})
	if err != nil {
		b.Fatal(err)
	}
	for _, pattern := range d.patterns() {
		if err := changed.Handle(sub, pattern, func(_ context.Context,
			e events.Event[change]) error {
			d.signal(e.Channel)
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	run(b, sub)
	d.publish = func(ctx context.Context, channel string) error { return changed.Publish(ctx, bus, channel, d.data) }
}

// rivalText is an event of a rival, encoded per publish: {"type":…,"data":…}.
func (d *delivery) rivalText() (string, error) {
	text, err := json.Marshal(struct {
		Type string `json:"type"`
		Data change `json:"data"`
	}{"user.changed", d.data})
	return string(text), err
}

func deliverGoRedis(b *testing.B, d *delivery) {
	client := redis.NewClient(&redis.Options{Addr: d.server.Addr(), PoolSize: publishers})
	subscribe := client.Subscribe
	if d.glob {
		subscribe = client.PSubscribe
	}
	sub := subscribe(context.Background(), d.patterns()...)
	for range d.patterns() {
		if _, err := sub.Receive(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for m := range sub.Channel(redis.WithChannelSize(1 << 10)) {
			d.arrived(b, m.Channel, m.Payload)
		}
	}()
	b.Cleanup(func() { _ = sub.Close(); <-done; _ = client.Close() })
	d.publish = func(ctx context.Context, channel string) error {
		text, err := d.rivalText()
		if err != nil {
			return err
		}
		return client.Publish(ctx, channel, text).Err()
	}
}

func deliverRueidis(b *testing.B, d *delivery) {
	open := func() rueidis.Client {
		client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{d.server.Addr()},
			DisableCache: true, PipelineMultiplex: -1})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(client.Close)
		return client
	}
	client, receiver := open(), open()
	conn, cancel := receiver.Dedicate()
	b.Cleanup(cancel)
	var ready sync.WaitGroup
	ready.Add(len(d.patterns()))
	conn.SetPubSubHooks(rueidis.PubSubHooks{
		OnSubscription: func(rueidis.PubSubSubscription) { ready.Done() },
		OnMessage:      func(m rueidis.PubSubMessage) { d.arrived(b, m.Channel, m.Message) },
	})
	subscribe := conn.B().Subscribe().Channel(d.patterns()...).Build()
	if d.glob {
		subscribe = conn.B().Psubscribe().Pattern(d.patterns()...).Build()
	}
	if err := conn.Do(context.Background(), subscribe).Error(); err != nil {
		b.Fatal(err)
	}
	ready.Wait()
	d.publish = func(ctx context.Context, channel string) error {
		text, err := d.rivalText()
		if err != nil {
			return err
		}
		return client.Do(ctx, client.B().Publish().Channel(channel).Message(text).Build()).Error()
	}
}
