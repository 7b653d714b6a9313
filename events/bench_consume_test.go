package events_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

const spreadChannels = 1024

// storeSpread stores the events from to n with 100 bytes of data, in turn over 1,024 channels.
func storeSpread(t testing.TB, client *redstart.Client, bus *events.Durable, from, n int) {
	t.Helper()
	const channels, pipeline = spreadChannels, 1000
	r, filler := rigclient.Redis(t, client), strings.Repeat("x", 76)
	for ; from < n; from += pipeline {
		var cmds []rueidis.Completed
		for i := from; i < min(from+pipeline, n); i++ {
			channel := fmt.Sprint("users:", i%channels)
			text := events.EnvelopeText(fmt.Sprintf("%016d", i), "note", channel, fmt.Sprintf(`{"n":%d,"text":"%s"}`, i/channels, filler))
			cmds = append(cmds, r.B().Xadd().Key(bus.StreamOf(channel)).Id("*").FieldValue().FieldValue("c",
				channel).FieldValue("e1", text).Build())
		}
		for _, reply := range r.DoMulti(context.Background(), cmds...) {
			must(t, reply.Error())
		}
	}
}

// BenchmarkConsume is how fast stored events with 100 bytes of data are handled, by partitions of
// the bus and subscribers of the group in this process.
func BenchmarkConsume(b *testing.B) {
	for _, partitions := range []int{1, 4, 16, 64} {
		for _, consumers := range []int{1, 2, 4} {
			b.Run(fmt.Sprintf("partitions=%d/consumers=%d", partitions, consumers),
				func(b *testing.B) { consume(b, partitions, consumers) })
		}
	}
}

func consume(b *testing.B, partitions, consumers int) {
	server := rig.Standalone(b)
	client := open(b, server.URL(), rig.Prefix(b))
	bus := durable(b, client, events.DurableOptions{Partitions: partitions})
	storeSpread(b, client, bus, 0, b.N)

	var got atomic.Int64
	done := make(chan struct{})
	var subs []*events.Subscriber
	for range consumers {
		sub := subscriber(b, bus, "group", events.SubscriberOptions{Start: events.FromBeginning()})
		must(b, notes.Handle(sub, "*", func(context.Context, events.Event[note]) error {
			if got.Add(1) == int64(b.N) {
				close(done)
			}
			return nil
		}))
		subs = append(subs, sub)
	}
	b.ReportAllocs()
	before := serverTime(b, server)
	b.ResetTimer()
	for _, sub := range subs {
		run(b, sub)
	}
	select {
	case <-done:
	case <-time.After(5 * time.Minute):
		b.Fatalf("%d of %d events were handled", got.Load(), b.N)
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric((serverTime(b, server)-before)/float64(b.N), "server-µs/op")
	b.ReportMetric(float64(commandCalls(server, "evalsha"))/float64(b.N), "scripts/op")
}

// serverTime is the processor time that a server has used, in µs.
func serverTime(b *testing.B, server *rig.Server) (sum float64) {
	b.Helper()
	for _, field := range []string{"used_cpu_user", "used_cpu_sys"} {
		seconds, err := strconv.ParseFloat(server.Info(field), 64)
		must(b, err)
		sum += seconds * 1e6
	}
	return sum
}
