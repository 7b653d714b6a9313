package calls_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redstart-go/redstart/internal/rig"
)

var largeSizes = []int{100 << 10, 1 << 20}

// prepareLarge stores eight values of a size.
func prepareLarge(b *testing.B, s servers, size int) []string {
	client := redis.NewClient(&redis.Options{Addr: s.addrs[0]})
	defer client.Close()
	keys := make([]string, 8)
	for i := range keys {
		keys[i] = fmt.Sprintf("app:large:%d:{%d}", size, i)
		if err := client.Set(b.Context(), keys[i], strings.Repeat("x", size), time.Hour).Err(); err != nil {
			b.Fatal(err)
		}
	}
	return keys
}

// openDefaultGoRedis opens go-redis with its default pool of ten connections per processor.
func openDefaultGoRedis(b *testing.B, s servers) func(context.Context, string) error {
	client := redis.NewClient(&redis.Options{Addr: s.addrs[0]})
	b.Cleanup(func() { _ = client.Close() })
	return func(ctx context.Context, key string) error { return client.Get(ctx, key).Err() }
}

// BenchmarkLargeRatio compares a GET of a long value with go-redis, in alternating rounds. Run it
// with -benchtime 1x.
func BenchmarkLargeRatio(b *testing.B) {
	one := rig.Shared(b)
	s := servers{one.URL(), []string{one.Addr()}}
	for _, size := range largeSizes {
		keys := prepareLarge(b, s, size)
		for _, callers := range []int{1, 4, 16, 128} {
			b.Run(fmt.Sprintf("%dKiB/callers=%d", size>>10, callers), func(b *testing.B) {
				ours, theirs := openRedstart(b, s), openDefaultGoRedis(b, s)
				compare(b, callers, rounds(b),
					side{"redstart", func(ctx context.Context, i int) error { return ours(ctx, keys[i%len(keys)]) }},
					side{"go-redis", func(ctx context.Context, i int) error { return theirs(ctx, keys[i%len(keys)]) }})
			})
		}
	}
}

// BenchmarkLargeNextToSmall has four readers of long values and four of short ones, in alternating
// rounds of 0.4 s. It reports the ratios to go-redis: long reads per second, and p50 and p99 of the
// short reads. A larger ratio is better. Values are medians of the rounds, with the least and the
// greatest ratio. Run it with -benchtime 1x.
func BenchmarkLargeNextToSmall(b *testing.B) {
	one := rig.Shared(b)
	s := servers{one.URL(), []string{one.Addr()}}
	small := prepare(b, s)
	for _, size := range largeSizes {
		large := prepareLarge(b, s, size)
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			gets := []func(context.Context, string) error{openRedstart(b, s), openDefaultGoRedis(b, s)}
			var ratios [3][]float64
			var all [2][3][]float64 // by side
			for round := range rounds(b) {
				var now [2][3]float64
				for i := range gets {
					at := (i + round) % 2
					now[at] = mixed(b, gets[at], large, small)
					for j, value := range now[at] {
						all[at][j] = append(all[at][j], value)
					}
				}
				ours, theirs := now[0], now[1]
				for i, ratio := range []float64{ours[0] / theirs[0], theirs[1] / ours[1], theirs[2] / ours[2]} {
					ratios[i] = append(ratios[i], ratio)
				}
			}
			b.ReportMetric(0, "ns/op")
			for i, name := range []string{"large", "p50", "p99"} {
				slices.Sort(ratios[i])
				b.ReportMetric(ratios[i][len(ratios[i])/2], name+"-ratio")
				b.ReportMetric(ratios[i][0], name+"-least")
				b.ReportMetric(ratios[i][len(ratios[i])-1], name+"-most")
			}
			for i, name := range []string{"large/s", "p50-us", "p99-us"} {
				for at, side := range []string{"redstart-", "go-redis-"} {
					slices.Sort(all[at][i])
					b.ReportMetric(all[at][i][len(all[at][i])/2], side+name)
				}
			}
		})
	}
}

// mixed returns long reads per second, and p50 and p99 of the short reads in µs.
func mixed(b *testing.B, get func(context.Context, string) error, large, small []string) [3]float64 {
	for i := range 64 {
		for _, keys := range [][]string{large, small} {
			if err := get(b.Context(), keys[i%len(keys)]); err != nil {
				b.Fatal(err)
			}
		}
	}
	ctx, cancel := context.WithTimeout(b.Context(), 400*time.Millisecond)
	defer cancel()
	var reads atomic.Int64
	var mu sync.Mutex
	var times []time.Duration
	var wg sync.WaitGroup
	began := time.Now()
	for r := range 4 {
		wg.Go(func() {
			for i := r; ctx.Err() == nil; i++ {
				if get(b.Context(), large[i%len(large)]) == nil {
					reads.Add(1)
				}
			}
		})
		wg.Go(func() {
			var mine []time.Duration
			for i := r; ctx.Err() == nil; i++ {
				t := time.Now()
				if err := get(b.Context(), small[i%len(small)]); err != nil {
					b.Error(err)
				}
				mine = append(mine, time.Since(t))
			}
			mu.Lock()
			defer mu.Unlock()
			times = append(times, mine...)
		})
	}
	wg.Wait()
	slices.Sort(times)
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
	return [3]float64{float64(reads.Load()) / time.Since(began).Seconds(), us(times[len(times)/2]), us(times[len(times)*99/100])}
}
