package main

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMedianOfRounds(t *testing.T) {
	for _, c := range []struct {
		rounds []float64
		want   float64
	}{{[]float64{7}, 7}, {[]float64{9, 1}, 5}, {[]float64{4, 1, 100}, 4}, {[]float64{100, 2, 1, 4}, 3}} {
		measured := samples{ours: c.rounds, theirs: slices.Repeat([]float64{1}, len(c.rounds))}
		if got, _, _, err := measured.median(ours); err != nil || got != c.want {
			t.Errorf("the median of %v is %g, %v; want %g", c.rounds, got, err, c.want)
		}
		if got, _, _, err := measured.ratio(ours, theirs); err != nil || got != c.want {
			t.Errorf("the median ratio of %v to 1 is %g, %v; want %g", c.rounds, got, err, c.want)
		}
	}
}

// TestFlags: a run of one pattern does not overwrite the page of all patterns.
func TestFlags(t *testing.T) {
	for _, c := range []struct {
		args, out string
		rounds    int
		each      time.Duration
	}{
		{"", "RESULTS.md", 5, 100 * time.Millisecond},
		{"-only lock", "-", 5, 100 * time.Millisecond},
		{"-only lock -out lock.md", "lock.md", 5, 100 * time.Millisecond},
		{"-short", "RESULTS.md", 1, 20 * time.Millisecond},
	} {
		o, err := parse(strings.Fields(c.args))
		if err != nil || o.out != c.out || o.rounds != c.rounds || o.each != c.each {
			t.Errorf("%q: %+v, %v; want the file %s, %d rounds of %v", c.args, o, err, c.out, c.rounds, c.each)
		}
	}
	for _, args := range []string{"-only cash", "-rounds 0", "-benchtime 0s", "lock"} {
		if _, err := parse(strings.Fields(args)); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}

func TestRoundsEndInTime(t *testing.T) {
	o := options{rounds: 3, within: 10 * time.Minute}
	for _, step := range []struct {
		done             int
		elapsed, longest time.Duration
		want             bool
	}{
		{0, 0, 0, true},
		{1, 4 * time.Minute, 4 * time.Minute, true},
		{2, 6 * time.Minute, 3 * time.Minute, true},
		{2, 6 * time.Minute, 4 * time.Minute, false},
		{2, 8 * time.Minute, 4 * time.Minute, false},
		{3, time.Minute, time.Second, false},
	} {
		if got := o.another(step.done, step.elapsed, step.longest); got != step.want {
			t.Errorf("after %d rounds in %v, the longest in %v: %v, want %v", step.done, step.elapsed, step.longest, got, step.want)
		}
	}
}

// TestFailedRoundDoesNotCount: the rounds before it do, and the error is returned.
func TestFailedRoundDoesNotCount(t *testing.T) {
	o, broken := options{rounds: 5, within: time.Hour}, errors.New("no server")
	m, err := o.repeat(time.Now(), func(number int) (samples, error) {
		if number == 3 {
			return samples{ours: {1e9}}, broken
		}
		return samples{ours: {float64(number)}}, nil
	})
	if !errors.Is(err, broken) || m.rounds != 2 || !slices.Equal(m.samples[ours], []float64{1, 2}) {
		t.Errorf("%d rounds with %v, %v; want the rounds 1 and 2, and the error", m.rounds, m.samples[ours], err)
	}
}

// TestNoTimeLeft does not start benchmarks after the end of the run.
func TestNoTimeLeft(t *testing.T) {
	err := runBenchmarks("/does/not/exist", "lock", nil, time.Second, 0, samples{})
	if err == nil || !strings.Contains(err.Error(), "no time is left") {
		t.Errorf("%v, want an error about the time", err)
	}
}

func TestParseStat(t *testing.T) {
	got, err := parseStat("cpu  100 200 300 1000 50 10 20 30 999 999\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
	if want := (processorTime{busy: 6.6, all: 17.1}); err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	for _, text := range []string{"", "cpu 1 2 3", "cpu a b c d e f g h", "intr 1 2 3 4 5 6 7 8 9"} {
		if _, err := parseStat(text); !errors.Is(err, errNoTimes) {
			t.Errorf("%q: %v, want errNoTimes", text, err)
		}
	}
}

func TestOtherLoad(t *testing.T) {
	before := processorTime{busy: 100, all: 1000, own: 10}
	for _, c := range []struct {
		after processorTime
		want  string
	}{
		// 20 s of 40 s are busy, 19 s of these for the benchmarks.
		{processorTime{busy: 120, all: 1040, own: 29}, "other processes used 2 %"},
		{processorTime{busy: 130, all: 1040, own: 20}, "**the machine was busy**. Other processes used 50 %"},
		{processorTime{busy: 110, all: 1040, own: 30}, "other processes used 0 %"}, // by the rounding of ticks
	} {
		if got := before.until(c.after); !got.known || !strings.HasPrefix(got.String(), c.want) {
			t.Errorf("%+v: %v, want %s …", c.after, got, c.want)
		}
	}
	if got := before.until(before); got.known {
		t.Errorf("no time has passed: %v", got)
	}
}

// TestOwnLoad starts a process that uses processor time and ends. Its time is own time: it does not
// count as other load.
func TestOwnLoad(t *testing.T) {
	before, err := readProcessorTime()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0], "-test.run=^TestBusyChild$")
	child.Env = append(os.Environ(), "TEST_BUSY_CHILD=1")
	if output, err := child.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	after, err := readProcessorTime()
	if err != nil {
		t.Fatal(err)
	}
	used := float64(child.ProcessState.UserTime()+child.ProcessState.SystemTime()) / 1e9
	if own := after.own - before.own; used < 0.2 || own < used {
		t.Errorf("%.2f s of own time, the process used %.2f s, want at least 0.2 s", own, used)
	}
}

// TestBusyChild is the process of TestOwnLoad.
func TestBusyChild(t *testing.T) {
	if os.Getenv("TEST_BUSY_CHILD") == "" {
		return
	}
	for used := 0.0; used < 0.2; {
		now, err := readProcessorTime()
		if err != nil {
			t.Fatal(err)
		}
		used = now.own
	}
}
