package events_test

import (
	"context"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// BenchmarkLiveManyChannels has 10,000 exact channels in one subscriber, each with its own handler,
// which checks the order. Each of eight publishers has a part of the channels, so that the events
// of a channel have an order.
func BenchmarkLiveManyChannels(b *testing.B) {
	const many, writers = 10_000, 8
	server := rig.Standalone(b)
	bus, err := events.NewLive(open(b, server), events.LiveOptions{})
	if err != nil {
		b.Fatal(err)
	}
	sub, err := bus.Subscriber("s", events.SubscriberOptions{Queue: 1 << 20, QueueBytes: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	empty := heap()
	next := make([]int, many) // one handler per channel runs at a time
	var got, disordered atomic.Int64
	counted := events.NewTopic[int]("counted")
	own := make([]string, many)
	for c := range many {
		own[c] = "c" + strconv.Itoa(c)
		if err := counted.Handle(sub, own[c], func(_ context.Context, e events.Event[int]) error {
			if e.Data != next[c] {
				disordered.Add(1)
			}
			next[c] = e.Data + 1
			got.Add(1)
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	run(b, sub)
	var turns [writers]int
	round := func(n int) { // publishes n events
		var published atomic.Int64
		want := got.Load() + int64(n)
		done := make(chan error, writers)
		for w := range writers {
			go func() {
				for i := turns[w]; ; i++ {
					if published.Add(1) > int64(n) {
						turns[w] = i
						done <- nil
						return
					}
					c := i%(many/writers)*writers + w
					if err := counted.Publish(context.Background(), bus, own[c], i/(many/writers)); err != nil {
						done <- err
						return
					}
				}
			}()
		}
		for range writers {
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		}
		for got.Load() < want {
			runtime.Gosched()
		}
	}
	round(many) // about one event per channel
	warm := heap()
	b.ReportAllocs()
	b.ResetTimer()
	round(b.N)
	b.StopTimer()
	b.ReportMetric(float64(warm-empty)/many, "heap-B/channel")
	b.ReportMetric(max(float64(heap()-warm)/1024, 0), "grown-KiB")
	b.ReportMetric(float64(disordered.Load()), "disordered")
}

// heap returns the bytes in use after a garbage collection.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
