package events_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

const (
	logged  = 5000 // events in the log of one partition
	watched = 500  // number of channels of these events
)

// sink is a fast browser that ends its request after a number of events.
type sink struct {
	header    http.Header
	got, want int
	enough    func()
}

func (s *sink) Header() http.Header { return s.header }
func (s *sink) WriteHeader(int)     {}
func (s *sink) Flush()              {}
func (s *sink) Write(p []byte) (int, error) {
	if s.got += strings.Count(string(p), "\nevent: "); s.got >= s.want {
		s.enough()
	}
	return len(p), nil
}

// resume sends one request that receives want events.
func resume(b testing.TB, streams http.Handler, channel, position string, want int) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s := &sink{header: http.Header{}, want: want, enough: cancel}
	streams.ServeHTTP(s, httptest.NewRequestWithContext(ctx, http.MethodGet, "/?c="+channel+"&position="+position, nil))
	if s.got < want {
		b.Errorf("%d of %d events", s.got, want)
	}
}

// browsers are the streams of a bus with one partition, which has a number of events of one size,
// and the position before them.
func browsers(b *testing.B, server *rig.Server, n, channels, size int) (streams http.Handler, position string) {
	b.Helper()
	bus, err := events.NewDurable(open(b, server), "bus", events.DurableOptions{Partitions: 1, Retention: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	streams, err = bus.SSE(func(r *http.Request) (string, error) { return r.URL.Query().Get("c"), nil }, events.SSEOptions{})
	if err != nil {
		b.Fatal(err)
	}
	var start events.Receipt
	if err := changed.Publish(b.Context(), bus, "start", data, events.Into(&start)); err != nil {
		b.Fatal(err)
	}
	var batch events.Batch
	for i := range n {
		changed.AddToBatch(&batch, fmt.Sprint("c", i%channels), change{UserID: i, Text: strings.Repeat("x", size)})
	}
	if err := bus.PublishBatch(b.Context(), &batch); err != nil {
		b.Fatal(err)
	}
	return streams, start.Position
}

// BenchmarkSSEResume measures one client that reconnects and receives the 10 events of its channel,
// out of a log of 5,000. Another stream keeps the index in memory. The rival is a handler without
// an index: it reads the log from the position of the client and filters.
func BenchmarkSSEResume(b *testing.B) {
	const missed = logged / watched
	b.Run("redstart", func(b *testing.B) {
		streams, position := browsers(b, rig.Standalone(b), logged, watched, 200)
		ctx, cancel := context.WithCancel(context.Background())
		var stays sync.WaitGroup
		defer stays.Wait()
		defer cancel()
		stays.Go(func() {
			streams.ServeHTTP(&sink{header: http.Header{}, want: 1 << 30},
				httptest.NewRequestWithContext(ctx, http.MethodGet, "/?c=idle", nil))
		})
		resume(b, streams, "c0", position, missed)
		b.ReportAllocs()
		b.ResetTimer()
		for n := range b.N {
			resume(b, streams, fmt.Sprint("c", n%watched), position, missed)
		}
	})
	b.Run("xrange", func(b *testing.B) {
		client := redis.NewClient(&redis.Options{Addr: rig.Standalone(b).Addr()})
		defer client.Close()
		ctx := context.Background()
		pipe := client.Pipeline()
		for i := range logged {
			text, err := json.Marshal(change{UserID: i, Text: strings.Repeat("x", 200)})
			if err != nil {
				b.Fatal(err)
			}
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: "log", Values: []any{"c", fmt.Sprint("c", i%watched), "e", text}})
		}
		if _, err := pipe.Exec(ctx); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		b.ResetTimer()
		for n := range b.N {
			got, want, at := 0, fmt.Sprint("c", n%watched), "0"
			for {
				page, err := client.XRangeN(ctx, "log", "("+at, "+", 256).Result()
				if err != nil {
					b.Fatal(err)
				}
				for _, e := range page {
					if e.Values["c"] == want {
						got++
					}
					at = e.ID
				}
				if len(page) < 256 {
					break
				}
			}
			if got != missed {
				b.Fatalf("%d of %d events", got, missed)
			}
		}
	})
}

// BenchmarkSSEStorm has 100 clients that reconnect at once and miss the same 60 events of 100 KiB.
// It reports how often the server sent the log.
func BenchmarkSSEStorm(b *testing.B) {
	const clients, missed, size = 100, 60, 100 << 10
	server := rig.Standalone(b)
	streams, position := browsers(b, server, missed, 1, size)
	output := func() float64 {
		n, err := strconv.ParseFloat(server.Info("total_net_output_bytes"), 64)
		if err != nil {
			b.Fatal(err)
		}
		return n
	}
	before := output()
	b.ResetTimer()
	for range b.N {
		var all sync.WaitGroup
		for range clients {
			all.Go(func() { resume(b, streams, "c0", position, missed) })
		}
		all.Wait()
	}
	b.StopTimer()
	b.ReportMetric((output()-before)/float64(b.N)/(missed*size), "log-reads/op")
}
