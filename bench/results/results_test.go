package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

const output = `goos: linux
pkg: example
BenchmarkOurs/hit-2 	 100	 2000 ns/op	 64 B/op	 3 allocs/op
BenchmarkTheirs/hit-2 	 100	 5000 ns/op	 64 B/op	 9 allocs/op
PASS
`

var (
	ours    = figure{"x", "BenchmarkOurs/hit", perOp}
	theirs  = figure{"x", "BenchmarkTheirs/hit", perOp}
	example = row{"x", "hit", ours, []rival{{"theirs", theirs, 2, false}},
		[]limit{{"allocations", figure{"x", "BenchmarkOurs/hit", allocs}, 2, false}}}
)

func TestRow(t *testing.T) {
	measured := samples{}
	for _, time := range []string{"2000", "1000", "4000"} {
		if err := measured.read("x", strings.NewReader(strings.Replace(output, "2000", time, 1))); err != nil {
			t.Fatal(err)
		}
	}
	var table strings.Builder
	var found summary
	if err := example.lines(&table, measured, &found); err != nil {
		t.Fatal(err)
	}
	want := "| hit | 2 µs (1–4) | theirs | 5 µs | 2.5× | ≥ 2× | kept |\n|  |  | allocations | 3 |  | ≤ 2 | **missed** |\n"
	if table.String() != want {
		t.Errorf("%s\nwant\n%s", table.String(), want)
	}
	if want := []string{"x: hit, allocations: 3, goal ≤ 2"}; found.goals != 2 || !slices.Equal(found.missed, want) {
		t.Errorf("%d goals, missed %q, want 2 and %q", found.goals, found.missed, want)
	}
}

func TestRowAtMost(t *testing.T) {
	measured := samples{ours: {300}, theirs: {100}}
	for goal, want := range map[float64]int{2.9: 1, 3: 0} {
		r := row{"x", "hit", ours, []rival{{"theirs", theirs, goal, true}}, nil}
		var found summary
		if err := r.lines(&strings.Builder{}, measured, &found); err != nil || len(found.missed) != want {
			t.Errorf("3 times as large, at most %g times: missed %q, %v; want %d", goal, found.missed, err, want)
		}
	}
}

func TestRowThatWasNotMeasured(t *testing.T) {
	if err := example.lines(&strings.Builder{}, samples{}, &summary{}); !errors.Is(err, errNotMeasured) {
		t.Errorf("%v, want errNotMeasured", err)
	}
}
