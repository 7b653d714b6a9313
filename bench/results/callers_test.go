package main

import (
	"errors"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/bench/callers"
)

// TestEveryPatternHasRows states which operations, numbers of callers and payloads the table must
// have. It does not read callers.Works to know them.
func TestEveryPatternHasRows(t *testing.T) {
	const small, middle, large = "small", "10 KB", "1 MB"
	withPayload := []string{small, middle, large}
	for _, want := range []struct {
		pattern, work string
		payloads      []string
	}{
		{"cache", "hit", withPayload}, {"cache", "miss", withPayload}, {"cache", "set", withPayload},
		{"lock", "lock", []string{small}}, {"lock", "handoff", []string{small}},
		{"ratelimit", "gcra", []string{small}}, {"session", "load", []string{small}},
		{"events", "live", withPayload}, {"events", "publish", withPayload}, {"events", "consume", withPayload},
		{"idempotency", "execute", []string{small}},
	} {
		has := func(place, size string, n int) bool {
			return slices.ContainsFunc(callerRows(), func(r callerRow) bool {
				bytes := payload(r.at.Bytes)
				return r.work.Pattern == want.pattern && r.work.Name == want.work && r.at.Place == place && r.at.Callers == n &&
					(bytes == size || size == small && bytes != middle && bytes != large)
			})
		}
		for _, n := range []int{1, 4, 16, 128} {
			for _, size := range want.payloads {
				if !has("standalone", size, n) {
					t.Errorf("%s %s has no row with %d callers and a %s payload", want.pattern, want.work, n, size)
				}
			}
		}
		for _, n := range []int{1, 16, 128} {
			if !has("cluster", small, n) {
				t.Errorf("%s %s has no row on a cluster with %d callers", want.pattern, want.work, n)
			}
		}
	}
}

// TestEveryWorkHasASubject reads the benchmarks: each work needs Redstart and a rival there.
func TestEveryWorkHasASubject(t *testing.T) {
	text, err := os.ReadFile("../callers/run_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, work := range callers.Works {
		if !regexp.MustCompile(`(?m)^\t"` + work.Name + `":\s+\{\w+, rival\w+\},$`).Match(text) {
			t.Errorf("subjects in bench/callers has no line for %q with a rival", work.Name)
		}
		if work.Rival == "" || work.What == "" {
			t.Errorf("%s %s: no rival or no description", work.Pattern, work.Name)
		}
	}
}

// twice returns samples of two rounds. The times of the rival are a multiple of those of Redstart,
// which the other load of the machine changes from round to round.
func twice(r callerRow) samples {
	measured := samples{}
	for _, unit := range units {
		measured[r.figure(callers.Redstart, unit)] = []float64{1000, 4000, 2000}
		measured[r.figure(callers.Rival, unit)] = []float64{3000, 12000, 6000}
	}
	return measured
}

func TestCallerRow(t *testing.T) {
	work := callers.Work{Pattern: "x", Name: "hit", What: "read", Rival: "theirs", Payloads: []int{256}, Goal: 4}
	r := callerRow{work, work.Cases()[0]}
	var line strings.Builder
	var found summary
	ratio, err := r.line(&line, twice(r), &found)
	if err != nil {
		t.Fatal(err)
	}
	want := "| standalone | 256 B | 1 | 2 / 6 µs | 2 / 6 ms | 2 / 6 ms | 2 / 6 ms | 2 / 6 ms | 3× | ≥ 4× | **missed** |\n"
	if ratio != 3 || line.String() != want {
		t.Errorf("ratio %g, want 3\n%s\nwant\n%s", ratio, line.String(), want)
	}
	if want := []string{"x: read, 1 caller, compared with theirs: 3×, goal ≥ 4×"}; !slices.Equal(found.missed, want) {
		t.Errorf("missed goals: %q, want %q", found.missed, want)
	}

	r.work.Goal = 3
	found = summary{}
	if _, err := r.line(io.Discard, twice(r), &found); len(found.missed) != 0 || found.goals != 1 || err != nil {
		t.Errorf("a goal of 3× with a ratio of 3×: %+v, %v", found, err)
	}
	if got := strings.Count(callerHead, "|"); got != 2*strings.Count(want, "|") {
		t.Errorf("two lines of the head have %d columns, the row has %d", got, strings.Count(want, "|"))
	}
}

func TestPair(t *testing.T) {
	for _, c := range [][3]string{
		{"1.5 µs", "20 µs", "1.5 / 20 µs"}, {"900 ns", "1.2 µs", "900 ns / 1.2 µs"}, {"2 s", "3 ms", "2 s / 3 ms"},
	} {
		if got := pair(c[0], c[1]); got != c[2] {
			t.Errorf("%s and %s: %s, want %s", c[0], c[1], got, c[2])
		}
	}
}

func TestCallerRowThatWasNotMeasured(t *testing.T) {
	r := callerRows()[0]
	measured := twice(r)
	delete(measured, r.figure(callers.Rival, p99))
	if _, err := r.line(io.Discard, measured, &summary{}); !errors.Is(err, errNotMeasured) {
		t.Errorf("%v, want errNotMeasured", err)
	}
	measured = twice(r)
	other := r.figure(callers.Rival, perOp)
	measured[other] = measured[other][:2]
	if _, err := r.line(io.Discard, measured, &summary{}); !errors.Is(err, errNotMeasured) {
		t.Errorf("a missing round: %v, want errNotMeasured", err)
	}
}

// TestExpression: -test.bench splits a name at each slash, and takes | outside brackets as "or".
func TestExpression(t *testing.T) {
	got := expression([]string{"BenchmarkA/b.c/d=1", "BenchmarkE"})
	if want := `^BenchmarkA$/^b\.c$/^d=1$|^BenchmarkE$`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestRunsOnlyWhatTheTableNeeds: each figure of a row is in the list of benchmarks, and -only
// selects one pattern.
func TestRunsOnlyWhatTheTableNeeds(t *testing.T) {
	all := benchmarks(choose(""))
	for _, r := range callerRows() {
		for _, library := range []string{callers.Redstart, callers.Rival} {
			if !slices.Contains(all["callers"], r.work.Path(r.at, library)) {
				t.Errorf("%s is not run", r.work.Path(r.at, library))
			}
		}
	}
	locks := benchmarks(choose("lock"))["callers"]
	for _, name := range all["callers"] {
		want := strings.HasPrefix(name, "BenchmarkCallers/lock/") || strings.HasPrefix(name, "BenchmarkCallers/handoff/")
		if got := slices.Contains(locks, name); got != want {
			t.Errorf("-only lock runs %s: %v, want %v", name, got, want)
		}
	}
}
