package callers_test

import (
	"errors"
	"flag"
	"math"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redstart-go/redstart/bench/callers"
)

// measure prepares a subject and calls it for -benchtime on the goroutines of a case. It counts the
// calls itself. With b.N, a case with slow calls would have fewer calls than callers, and would
// prepare its subject again for each b.N.
func measure(b *testing.B, p place, work callers.Work, c callers.Case, open subject) {
	p.empty(b)
	n := c.Callers
	if work.Name == "handoff" {
		n++ // so that a lock changes its holder with one caller too
	}
	op := open(b, p, c)
	warm := n // opens connections, loads scripts
	if c.Bytes >= 1_000_000 {
		warm = min(n, 16)
	}
	callFor(b, 0, warm, op)

	d, server := benchTime(b), p.cpu(b)
	before, client := memory(), clientCPU(b)
	r := callFor(b, d, n, op)
	client, after := clientCPU(b)-client, memory()
	server = p.cpu(b) - server
	if b.Failed() {
		return
	}
	calls := float64(r.calls)
	b.ReportMetric(float64(r.elapsed.Nanoseconds())/calls, "ns/op")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/calls, "allocs/op")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/calls, "B/op")
	b.ReportMetric(client/calls, "client-µs/op")
	b.ReportMetric(server/calls, "server-µs/op")
	b.ReportMetric(r.quantile(0.50), "p50-µs")
	b.ReportMetric(r.quantile(0.99), "p99-µs")
	b.ReportMetric(calls, "calls")
}

// benchTime returns the value of -benchtime. Package testing does not repeat a benchmark that took
// at least as long.
func benchTime(b *testing.B) time.Duration {
	d, err := time.ParseDuration(flag.Lookup("test.benchtime").Value.String())
	if err != nil {
		b.Fatalf("-benchtime must be a duration: %v", err)
	}
	return d
}

// errEnded is the error of an operation that ended before it was complete. It does not count.
var errEnded = errors.New("the run has ended")

// result has the calls of a run.
type result struct {
	calls   int64
	elapsed time.Duration // until the last call ended
	took    []time.Duration
}

// callFor calls op on n goroutines. Each goroutine calls at least once, and starts no further call
// after d or after an error.
func callFor(tb testing.TB, d time.Duration, n int, op operation) result {
	tb.Helper()
	var next, calls atomic.Int64
	var failed atomic.Bool
	took := make([]times, n)
	began := time.Now()
	ended := func() bool { return failed.Load() || time.Since(began) >= d }
	var wg sync.WaitGroup
	for caller := range n {
		wg.Go(func() {
			for start := time.Now(); ; {
				err := op(caller, next.Add(1), ended)
				if errors.Is(err, errEnded) {
					return
				}
				if err != nil {
					failed.Store(true)
					tb.Error(err)
					return
				}
				now := time.Now()
				calls.Add(1)
				took[caller].add(now.Sub(start))
				if start = now; failed.Load() || now.Sub(began) >= d {
					return
				}
			}
		})
	}
	wg.Wait()
	r := result{calls: calls.Load(), elapsed: time.Since(began)}
	for _, t := range took {
		r.took = append(r.took, t.took...)
	}
	slices.Sort(r.took)
	return r
}

// maxTimes bounds the stored times of a caller. It is even.
const maxTimes = 1 << 14

// times are the times of every k-th call of a caller, where k is a power of two.
type times struct {
	calls, every int
	took         []time.Duration
}

// add stores a time. With maxTimes stored times, it keeps each second one.
func (t *times) add(took time.Duration) {
	t.every = max(1, t.every)
	if t.calls++; t.calls%t.every != 0 {
		return
	}
	t.took = append(t.took, took)
	if len(t.took) < maxTimes {
		return
	}
	t.every *= 2
	for i := range maxTimes / 2 {
		t.took[i] = t.took[2*i+1]
	}
	t.took = t.took[:maxTimes/2]
}

// quantile returns a quantile in µs by the nearest rank: at most 1-q of the times are longer.
func (r result) quantile(q float64) float64 {
	if len(r.took) == 0 {
		return 0
	}
	return float64(r.took[int(math.Ceil(q*float64(len(r.took))))-1].Nanoseconds()) / 1000
}

func memory() (m runtime.MemStats) {
	runtime.ReadMemStats(&m)
	return m
}

// clientCPU returns the processor time of this process, in µs.
func clientCPU(tb testing.TB) float64 {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		tb.Fatal(err)
	}
	return float64(use.Utime.Nano()+use.Stime.Nano()) / 1000
}

// cpu returns the processor time of the servers, in µs.
func (p place) cpu(tb testing.TB) (total float64) {
	for _, server := range p.servers {
		for _, field := range []string{"used_cpu_user", "used_cpu_sys"} {
			seconds, err := strconv.ParseFloat(server.Info(field), 64)
			if err != nil {
				tb.Fatal(err)
			}
			total += seconds * 1e6
		}
	}
	return total
}
