package events_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// BenchmarkDurableLatency measures the time from Publish to the handler on an idle system, with one
// event every 5 ms. Between two events, a raw client sends a Pub/Sub message on separate
// connections, which shows the floor of this machine.
func BenchmarkDurableLatency(b *testing.B) {
	server := rig.Standalone(b)
	bus := durable(b, server)
	sub, err := bus.Subscriber("g", events.SubscriberOptions{})
	if err != nil {
		b.Fatal(err)
	}
	came := make(chan time.Time, 1)
	if err := changed.Handle(sub, "*", func(context.Context,
		events.Event[change]) error {
		came <- time.Now()
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	run(b, sub)
	floor, floorCame := floor(b, server)
	tick := time.NewTicker(2500 * time.Microsecond)
	defer tick.Stop()
	var ours, raw []time.Duration
	ctx := context.Background()
	b.ResetTimer()
	for i := range b.N {
		<-tick.C
		began := time.Now()
		if err := changed.Publish(ctx, bus, names[i%channels], data); err != nil {
			b.Fatal(err)
		}
		ours = append(ours, (<-came).Sub(began))
		<-tick.C
		began = time.Now()
		if err := floor.Do(ctx, floor.B().Publish().Channel("raw").Message(plain).Build()).Error(); err != nil {
			b.Fatal(err)
		}
		raw = append(raw, (<-floorCame).Sub(began))
	}
	for name, took := range map[string][]time.Duration{"": ours, "raw-": raw} {
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, name+"p50-ms")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, name+"p99-ms")
		b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, name+"max-ms")
	}
}

// floor is a raw client, and the times at which its messages on the channel "raw" were received.
func floor(b *testing.B, server *rig.Server) (rueidis.Client, <-chan time.Time) {
	b.Helper()
	open := func() rueidis.Client {
		client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr()},
			DisableCache: true, PipelineMultiplex: -1})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(client.Close)
		return client
	}
	came, ready := make(chan time.Time, 1), make(chan struct{})
	conn, cancel := open().Dedicate()
	b.Cleanup(cancel)
	conn.SetPubSubHooks(rueidis.PubSubHooks{
		OnSubscription: func(rueidis.PubSubSubscription) { close(ready) },
		OnMessage:      func(rueidis.PubSubMessage) { came <- time.Now() },
	})
	if err := conn.Do(context.Background(), conn.B().Subscribe().Channel("raw").Build()).Error(); err != nil {
		b.Fatal(err)
	}
	<-ready
	return open(), came
}
