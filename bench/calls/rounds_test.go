package calls_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
)

// The duration of one round of one side.
const roundLasts = 150 * time.Millisecond

// side is one of two rivals.
type side struct {
	name string
	do   func(ctx context.Context, i int) error
}

// taken has the costs per call of a side in one round.
type taken struct{ time, cpu, allocs float64 }

// compare runs two sides in alternating rounds and reports the median of the ratios per round. A
// ratio above 1 means that the first side is faster. Other load of the machine affects both sides
// of a round.
func compare(b *testing.B, callers, rounds int, ours, theirs side) {
	var ratios []float64
	var all [2][]taken
	for round := range rounds {
		var t [2]taken
		for i := range 2 {
			at := (i + round) % 2 // the order alternates too
			t[at] = measure(b, callers, []side{ours, theirs}[at].do)
			all[at] = append(all[at], t[at])
		}
		ratios = append(ratios, t[1].time/t[0].time)
	}
	slices.Sort(ratios)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
	b.ReportMetric(ratios[0], "least")
	b.ReportMetric(ratios[len(ratios)-1], "most")
	for i, s := range []side{ours, theirs} {
		b.ReportMetric(median(all[i], func(t taken) float64 { return t.time })/1e3, s.name+"-us")
		b.ReportMetric(median(all[i], func(t taken) float64 { return t.cpu })/1e3, s.name+"-cpu-us")
		b.ReportMetric(median(all[i], func(t taken) float64 { return t.allocs }), s.name+"-allocs")
	}
}

func median(all []taken, of func(taken) float64) float64 {
	var values []float64
	for _, t := range all {
		values = append(values, of(t))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// measure runs callers for the duration of a round.
func measure(b *testing.B, callers int, do func(ctx context.Context, i int) error) taken {
	ctx, cancel := context.WithCancel(b.Context()) // can be cancelled, like the context of a request
	defer cancel()
	for i := range 256 {
		if err := do(ctx, i); err != nil {
			b.Fatal(err)
		}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	busy, began := cpu(), time.Now()
	calls := make([]int, callers)
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			n := 0
			for ; n%16 != 0 || time.Since(began) < roundLasts; n++ {
				if err := do(ctx, c*31+n); err != nil {
					b.Error(err)
					return
				}
			}
			calls[c] = n
		})
	}
	wg.Wait()
	took, used := time.Since(began), cpu()-busy
	runtime.ReadMemStats(&after)
	total := 0
	for _, n := range calls {
		total += n
	}
	n := float64(max(total, 1))
	return taken{float64(took) / n, float64(used) / n, float64(after.Mallocs-before.Mallocs) / n}
}

// rounds returns the number of rounds of a comparison, an odd number: BENCH_ROUNDS, default 7.
func rounds(b *testing.B) int {
	text := os.Getenv("BENCH_ROUNDS")
	if text == "" {
		return 7
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// BenchmarkGetRatio compares a GET of 256 bytes with go-redis, in alternating rounds. Run it with
// -benchtime 1x.
func BenchmarkGetRatio(b *testing.B) {
	run := func(name string, s servers) {
		keys := prepare(b, s)
		for _, callers := range []int{1, 4, 16, 128} {
			b.Run(fmt.Sprintf("%s/callers=%d", name, callers), func(b *testing.B) {
				ours, theirs := openRedstart(b, s), openGoRedis(b, s)
				compare(b, callers, rounds(b),
					side{"redstart", func(ctx context.Context, i int) error { return ours(ctx, keys[i%keyCount]) }},
					side{"go-redis", func(ctx context.Context, i int) error { return theirs(ctx, keys[i%keyCount]) }})
			})
		}
	}
	one := rig.Shared(b)
	run("standalone", servers{one.URL(), []string{one.Addr()}})
	if os.Getenv("BENCH_CLUSTER") != "0" {
		cluster := rig.NewCluster(b, rig.NoReplicas())
		s := servers{url: cluster.URL()}
		for _, node := range cluster.Primaries() {
			s.addrs = append(s.addrs, node.Addr())
		}
		run("cluster", s)
	}
}
