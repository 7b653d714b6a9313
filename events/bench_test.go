package events_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// BenchmarkPublish measures the package alone. Module bench compares it with its rivals.
func BenchmarkPublish(b *testing.B) {
	client := open(b, rig.Shared(b).URL(), rig.Prefix(b))
	live, err := events.NewLive(client, events.LiveOptions{})
	must(b, err)
	for name, bus := range map[string]events.Bus{"live": live,
		"durable": durable(b, client, events.DurableOptions{MaxLen: 1000})} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(64)
			var worker atomic.Int64
			b.RunParallel(func(pb *testing.PB) {
				channel := fmt.Sprint("users:", worker.Add(1))
				for pb.Next() {
					if err := notes.Publish(b.Context(), bus, channel, note{N: 1, Text: "text"}); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkPublishAndHandle measures one event at a time, from Publish to the handler's return.
func BenchmarkPublishAndHandle(b *testing.B) {
	client := open(b, rig.Shared(b).URL(), rig.Prefix(b))
	live, err := events.NewLive(client, events.LiveOptions{})
	must(b, err)
	for name, bus := range map[string]events.Bus{"live": live, "durable": durable(b, client, events.DurableOptions{})} {
		b.Run(name, func(b *testing.B) {
			sub := subscriber(b, bus, "group", events.SubscriberOptions{})
			handled := make(chan struct{}, 1)
			must(b, notes.Handle(sub, "*", func(context.Context, events.Event[note]) error { handled <- struct{}{}; return nil }))
			stop := run(b, sub)
			defer stop()
			b.ReportAllocs()
			for b.Loop() {
				if err := notes.Publish(b.Context(), bus, "users:1", note{N: 1}); err != nil {
					b.Fatal(err)
				}
				<-handled
			}
		})
	}
}
