package lock_test

import (
	"context"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
)

// pair is a holder and a waiter in two clients of one library.
type pair struct {
	holder, waiter taker
	name           string
	passed         int
}

func newPair(tb testing.TB, r rival) *pair {
	p := standalone(tb)
	return &pair{holder: r.open(tb, p), waiter: r.open(tb, p), name: rig.Prefix(tb)}
}

// pass hands the lock to a waiter that waits since 3 ms to 19 ms. It returns the time from the call
// of release to the return of the waiter's acquire.
func (p *pair) pass(tb testing.TB) time.Duration {
	ctx := context.Background()
	release, err := p.holder(ctx, p.name)
	if err != nil {
		tb.Fatal(err)
	}

	type grant struct {
		at      time.Time
		release func() error
		err     error
	}
	granted := make(chan grant, 1)
	go func() {
		release, err := p.waiter(ctx, p.name)
		granted <- grant{time.Now(), release, err}
	}()
	time.Sleep(3*time.Millisecond + time.Duration(p.passed%17)*time.Millisecond) // at any phase of a poller
	p.passed++

	began := time.Now()
	if err := release(); err != nil {
		tb.Fatal(err)
	}
	g := <-granted
	if g.err != nil {
		tb.Fatal(g.err)
	}
	if err := g.release(); err != nil {
		tb.Fatal(err)
	}
	return g.at.Sub(began)
}

// BenchmarkLoneWaiter: one caller waits in another client.
func BenchmarkLoneWaiter(b *testing.B) {
	for _, r := range rivals {
		b.Run(r.name, func(b *testing.B) {
			pair := newPair(b, r)
			var took []time.Duration
			for b.Loop() {
				took = append(took, pair.pass(b))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
			b.ReportMetric(float64(roundTrip(b, standalone(b).servers[0]).Microseconds()), "rtt-µs")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkLoneWaiterRatio compares the lone waiters of Redstart and rueidislock in BENCH_ROUNDS
// rounds (default 7). A round has 85 hand-offs of each library, in turn, and the ratio of their
// medians. Above 1, Redstart is faster. Run it with -benchtime 1x.
func BenchmarkLoneWaiterRatio(b *testing.B) {
	rounds := 7
	if text := os.Getenv("BENCH_ROUNDS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			b.Fatal(err)
		}
		rounds = n
	}

	pairs := [2]*pair{newPair(b, rival{"redstart", redstartLock}), newPair(b, rival{"rueidislock", rueidisLock})}
	for range 17 { // open connections and subscriptions, load scripts
		pairs[0].pass(b)
		pairs[1].pass(b)
	}

	var ratios []float64
	var medians [2][]time.Duration
	for range rounds {
		var took [2][]time.Duration
		for i := range 5 * 17 {
			for k := range 2 {
				side := (i + k) % 2
				took[side] = append(took[side], pairs[side].pass(b))
			}
		}
		for side := range took {
			slices.Sort(took[side])
			medians[side] = append(medians[side], took[side][len(took[side])/2])
		}
		ratios = append(ratios, float64(medians[1][len(ratios)])/float64(medians[0][len(ratios)]))
	}

	slices.Sort(ratios)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
	b.ReportMetric(ratios[0], "least")
	b.ReportMetric(ratios[len(ratios)-1], "most")
	for side, name := range []string{"redstart-µs", "rueidislock-µs"} {
		slices.Sort(medians[side])
		b.ReportMetric(float64(medians[side][rounds/2].Microseconds()), name)
	}
}
