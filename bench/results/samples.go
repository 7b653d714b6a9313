package main

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"golang.org/x/perf/benchfmt"
)

// samples are the values that were measured: of each figure one per round.
type samples map[figure][]float64

// figure is one number that a benchmark reports.
type figure struct {
	folder    string
	benchmark string // with its sub-benchmark, without GOMAXPROCS
	unit      string
}

// read adds what the benchmarks of a folder printed.
func (s samples) read(folder string, output io.Reader) error {
	reader := benchfmt.NewReader(output, folder)
	for reader.Scan() {
		switch record := reader.Result().(type) {
		case *benchfmt.Result:
			name := cutProcs(record.Name)
			for _, v := range record.Values {
				value, unit := v.Value, v.Unit
				if v.OrigUnit != "" { // the reader turns ns into sec
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

// cutProcs is the name without GOMAXPROCS.
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

// errNotMeasured is of a row that names a benchmark or a unit which does not exist.
var errNotMeasured = errors.New("not measured")

// median returns the middle of the rounds, and the least and the greatest.
func (s samples) median(f figure) (middle, least, most float64, err error) {
	all := slices.Sorted(slices.Values(s[f]))
	if len(all) == 0 {
		return 0, 0, 0, fmt.Errorf("%s %s in %s: %w", f.benchmark, f.unit, f.folder, errNotMeasured)
	}
	return all[len(all)/2], all[0], all[len(all)-1], nil
}
