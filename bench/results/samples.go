package main

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"golang.org/x/perf/benchfmt"
)

// samples has the measured values of each figure, one per round.
type samples map[figure][]float64

// figure is a number that a benchmark reports.
type figure struct {
	folder    string
	benchmark string // with the sub-benchmark, without GOMAXPROCS
	unit      string
}

// read adds the output of the benchmarks of a folder.
func (s samples) read(folder string, output io.Reader) error {
	reader := benchfmt.NewReader(output, folder)
	for reader.Scan() {
		switch record := reader.Result().(type) {
		case *benchfmt.Result:
			name := cutProcs(record.Name)
			for _, v := range record.Values {
				value, unit := v.Value, v.Unit
				if v.OrigUnit != "" { // the reader converts ns to s
					value, unit = v.OrigValue, v.OrigUnit
				}
				f := figure{folder, "Benchmark" + name, unit}
				s[f] = append(s[f], value)
			}
		case *benchfmt.SyntaxError:
			return fmt.Errorf("%s: %w", folder, record)
		}
	}
	return reader.Err()
}

// cutProcs removes GOMAXPROCS from a name.
func cutProcs(name benchfmt.Name) string {
	base, parts := name.Parts()
	full := string(base)
	for _, part := range parts {
		if part[0] != '-' {
			full += string(part)
		}
	}
	return full
}

// errNotMeasured is the error of a row with an unknown benchmark or unit.
var errNotMeasured = errors.New("not measured")

// median returns the median, the minimum and the maximum of the rounds.
func (s samples) median(f figure) (middle, least, most float64, err error) {
	all := slices.Sorted(slices.Values(s[f]))
	if len(all) == 0 {
		return 0, 0, 0, fmt.Errorf("%s %s in %s: %w", f.benchmark, f.unit, f.folder, errNotMeasured)
	}
	return middleOf(all), all[0], all[len(all)-1], nil
}

// middleOf returns the median of sorted values: of an even number, the mean of the middle two.
func middleOf(sorted []float64) float64 {
	half := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[half-1] + sorted[half]) / 2
	}
	return sorted[half]
}

// add adds the values of a round.
func (s samples) add(round samples) {
	for f, values := range round {
		s[f] = append(s[f], values...)
	}
}
