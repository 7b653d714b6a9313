package callers_test

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
)

// TestAllCallersCallAtOnce has calls that end only when all callers are inside. A run whose callers
// did not call at the same time would not end.
func TestAllCallersCallAtOnce(t *testing.T) {
	const n = 128
	var inside sync.WaitGroup
	inside.Add(n)
	r := callFor(t, 0, n, func(int, int64, func() bool) error {
		inside.Done()
		inside.Wait()
		return nil
	})
	if r.calls != n || len(r.took) != n {
		t.Errorf("%d calls with %d times, want %d: one per caller", r.calls, len(r.took), n)
	}
}

// TestRunEndsAfterAnError has a caller that fails, and others that would call for an hour.
func TestRunEndsAfterAnError(t *testing.T) {
	var failures recorder
	var calls atomic.Int64
	callFor(&failures, time.Hour, 4, func(caller int, _ int64, _ func() bool) error {
		if calls.Add(1) > 100 && caller == 3 {
			return errors.New("a broken connection")
		}
		return nil
	})
	if got := failures.count.Load(); got != 1 {
		t.Errorf("%d errors, want 1", got)
	}
}

// recorder counts errors, and does not fail.
type recorder struct {
	testing.TB
	count atomic.Int64
}

func (r *recorder) Error(...any) { r.count.Add(1) }
func (r *recorder) Helper()      {}

// TestUnfinishedCallsDoNotCount has a caller whose operation ended before it was complete.
func TestUnfinishedCallsDoNotCount(t *testing.T) {
	r := callFor(t, 0, 2, func(caller int, _ int64, ended func() bool) error {
		if caller == 1 && ended() {
			return errEnded
		}
		return nil
	})
	if r.calls != 1 || len(r.took) != 1 {
		t.Errorf("%d calls with %d times, want 1", r.calls, len(r.took))
	}
}

func TestQuantile(t *testing.T) {
	for _, step := range []struct {
		times    int
		q        float64
		position int // of the sorted times, from 1
	}{
		{1, 0.5, 1}, {1, 0.99, 1}, {10, 0.5, 5}, {10, 0.99, 10}, {99, 0.99, 99}, {100, 0.99, 99}, {1000, 0.99, 990}, {1000, 0.5, 500},
	} {
		var r result
		for i := range step.times {
			r.took = append(r.took, time.Duration(i+1)*time.Microsecond)
		}
		if got := r.quantile(step.q); got != float64(step.position) {
			t.Errorf("the %g quantile of %d times is time %g, want time %d", step.q, step.times, got, step.position)
		}
	}
}

// TestTimesAreBounded adds more times than a caller stores. The stored ones must be from all of the
// run: they have the mean of all times.
func TestTimesAreBounded(t *testing.T) {
	var all times
	const n = 10*maxTimes + 1
	for i := range n {
		if all.add(time.Duration(i + 1)); len(all.took) >= maxTimes {
			t.Fatalf("%d times after %d calls, want fewer than %d", len(all.took), i+1, maxTimes)
		}
	}
	var sum time.Duration
	for _, took := range all.took {
		sum += took
	}
	if mean := float64(sum) / float64(len(all.took)); mean < 0.49*n || mean > 0.51*n {
		t.Errorf("the mean of %d stored times is %.0f, want about %d", len(all.took), mean, n/2)
	}
}

// TestProcessorTimeOfTheClient compares the figure with the count of the kernel in /proc, while
// this process is busy.
func TestProcessorTimeOfTheClient(t *testing.T) {
	own, kernel := clientCPU(t), procCPU(t, os.Getpid())
	for start := own; clientCPU(t)-start < 500_000; {
	}
	own, kernel = clientCPU(t)-own, procCPU(t, os.Getpid())-kernel
	compareCPU(t, own, kernel)
}

// TestProcessorTimeOfTheServers compares the figure with the count of the kernel in /proc, while
// the server runs a script.
func TestProcessorTimeOfTheServers(t *testing.T) {
	server := rig.Standalone(t)
	pid, err := strconv.Atoi(server.Info("process_id"))
	if err != nil {
		t.Fatal(err)
	}
	p := place{servers: []*rig.Server{server}}
	own, kernel := p.cpu(t), procCPU(t, pid)
	for start := own; p.cpu(t)-start < 500_000; {
		if _, err := server.Do("EVAL", "for i = 1, 1e6 do end", "0"); err != nil {
			t.Fatal(err)
		}
	}
	own, kernel = p.cpu(t)-own, procCPU(t, pid)-kernel
	compareCPU(t, own, kernel)
}

// compareCPU allows for four ticks of 10 ms, by which the kernel counts in /proc.
func compareCPU(t *testing.T, own, kernel float64) {
	t.Helper()
	const ticks = 40_000
	if own < 400_000 || own > 1.1*kernel+ticks || own < kernel/1.1-ticks {
		t.Errorf("%.0f µs of processor time, the kernel counted %.0f µs; want about the same, and at least 400,000 µs", own, kernel)
	}
}

// procCPU returns the processor time of a process by /proc, in µs.
func procCPU(t *testing.T, pid int) float64 {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	// The fields after the name, which ends with the last bracket: utime is the 12th, stime the
	// 13th.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	total := 0
	for _, field := range fields[11:13] {
		ticks, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		total += ticks
	}
	return float64(total) * 10_000 // a tick is 10 ms on Linux
}
