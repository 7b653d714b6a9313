package console_test

import (
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/console"
	"github.com/redstart-go/redstart/observe"
)

// Each line of the charts counts a counter that the library has, and values that its label has. A
// gauge has no rate.
func TestChartsCountCountersThatExist(t *testing.T) {
	t.Parallel()
	table, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string][]string)
	for line := range strings.Lines(string(table)) {
		if cells := strings.Split(line, " | "); len(cells) == 6 {
			rows[strings.Trim(cells[0], "| `")] = cells
		}
	}
	for _, line := range console.ChartLines() {
		chart, label, metric, values := line[0], line[1], line[2], line[3]
		row := rows[metric]
		if row == nil || row[2] != "counter" {
			t.Errorf("%s: the line %q counts %s, which is no counter: %q", chart, label, metric, row)
			continue
		}
		for _, value := range strings.Fields(values) {
			known := strings.FieldsFunc(row[4], func(r rune) bool { return strings.ContainsRune(" ,;`:", r) })
			if !slices.Contains(known, value) {
				t.Errorf("%s: the line %q counts the value %q of %s, whose labels are %q", chart, label, value, metric, row[4])
			}
		}
	}
}

// A rate is the difference of two sums divided by their distance in time.
func TestRatesOfTheLastMinutes(t *testing.T) {
	t.Parallel()
	requests := func(result string, value float64) observe.Metric {
		return observe.Metric{Name: "redstart.cache.requests", Value: value, Labels: []observe.Label{
			{Name: "cache", Value: "users"}, {Name: "result", Value: result},
		}}
	}
	start := time.Unix(1_700_000_000, 0)
	sums := [][]observe.Metric{
		{requests("hit", 100), requests("negative", 5), requests("miss", 7)},
		{requests("hit", 104), requests("negative", 11), requests("miss", 7)},     // 10 in 2 s
		{requests("hit", 1000), requests("negative", 1000), requests("miss", 99)}, // too early
		{requests("hit", 124), requests("negative", 31), requests("miss", 9)},     // 40 in 4 s
		{requests("hit", 0), requests("negative", 3), requests("miss", 10)},       // a new process
		{requests("hit", math.NaN()), requests("negative", 4), requests("miss", math.Inf(1))},
	}
	seconds := []float64{0, 2, 2.5, 6, 8, 10}
	at := make([]time.Time, len(seconds))
	for i, s := range seconds {
		at[i] = start.Add(time.Duration(s * float64(time.Second)))
	}
	got, _ := console.Sample(at, func(i int) []observe.Metric { return sums[i] })
	for line, want := range map[string][]float64{
		"cache Redis": {5, 10, 0, 0}, "cache miss": {0, 0.5, 0.5, 0}, "cache stale": {0, 0, 0, 0},
	} {
		if !slices.Equal(got[line], want) {
			t.Errorf("the line %q has the rates %v, want %v", line, got[line], want)
		}
	}

	long := make([]time.Time, 3*console.RingSize)
	for i := range long {
		long[i] = start.Add(time.Duration(i) * console.Interval)
	}
	got, length := console.Sample(long, func(i int) []observe.Metric { return []observe.Metric{requests("hit", float64(i*i))} })
	rates := got["cache Redis"]
	if len(rates) != console.RingSize || length != (console.RingSize-1)*console.Interval {
		t.Fatalf("after %d samples there are %d rates of %v", len(long), len(rates), length)
	}
	if last, want := rates[len(rates)-1], float64(2*(len(long)-1)-1)/console.Interval.Seconds(); last != want {
		t.Errorf("the newest rate is %v, want %v", last, want)
	}
}
