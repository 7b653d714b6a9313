package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/redstart-go/redstart/bench/callers"
)

// callerRow is one case of package callers: Redstart next to its rival.
type callerRow struct {
	work callers.Work
	at   callers.Case
}

// callerRows returns all cases of all works.
func callerRows() (all []callerRow) {
	for _, work := range callers.Works {
		for _, c := range work.Cases() {
			all = append(all, callerRow{work, c})
		}
	}
	return all
}

const (
	p50       = "p50-µs"
	p99       = "p99-µs"
	serverCPU = "server-µs/op"
)

// units are the figures of each library in a case.
var units = []string{perOp, p50, p99, cpu, serverCPU}

func (r callerRow) figure(library, unit string) figure {
	return figure{"callers", r.work.Path(r.at, library), unit}
}

// figures returns all figures of a row.
func (r callerRow) figures() (all []figure) {
	for _, library := range []string{callers.Redstart, callers.Rival} {
		for _, unit := range units {
			all = append(all, r.figure(library, unit))
		}
	}
	return all
}

// callerNote explains the tables by number of callers.
const callerNote = `The tables by number of callers have two values in a cell: Redstart / the other library.

- **mean**: the time of the run divided by its calls. With several callers it is smaller than the median.
- **p50, p99**: median and 99th percentile of the time of a call. With fewer than 100 calls in a round, p99 is the
  slowest call.
- **CPU**: processor time per call, of all threads. The servers of a cluster are its 3 primaries.
- **ratio**: of the means within each round. Above 1, Redstart is faster. In brackets: the smallest and the largest
  ratio of a round.
`

// callerHead is the head of a table by number of callers.
const callerHead = "| server | payload | callers | mean | p50 | p99 | CPU client | CPU server | ratio | goal | |\n" +
	"|---|---|---|---|---|---|---|---|---|---|---|\n"

// workSection prints the chart and the table of a work. After a table with a row in which Redstart
// is slower, it prints the cause.
func workSection(w io.Writer, work callers.Work, chosen []callerRow, measured samples, found *summary) error {
	compared := comparison{work: work.Pattern + ": " + work.What}
	head := fmt.Sprintf("\n### %s\n\nCompared with %s.\n\n![calls per second and p99](../docs/bench/%s)\n\n%s",
		compared.work, work.Rival, chartName(work), callerHead)
	for _, r := range chosen {
		if r.work.Name != work.Name {
			continue
		}
		fmt.Fprint(w, head)
		head = ""
		ratio, err := r.line(w, measured, found)
		if err != nil {
			return err
		}
		compared.ratios = append(compared.ratios, ratio)
	}
	if len(compared.ratios) > 0 {
		found.works = append(found.works, compared)
	}
	if compared.slower() > 0 {
		printCause(w, compared.work)
	}
	return nil
}

// line prints a row, and returns how many times as fast Redstart is.
func (r callerRow) line(w io.Writer, measured samples, found *summary) (ratio float64, err error) {
	fmt.Fprintf(w, "| %s | %s | %d ", r.at.Place, payload(r.at.Bytes), r.at.Callers)
	for _, unit := range units {
		ours, _, _, err := measured.median(r.figure(callers.Redstart, unit))
		if err != nil {
			return 0, err
		}
		theirs, _, _, err := measured.median(r.figure(callers.Rival, unit))
		if err != nil {
			return 0, err
		}
		fmt.Fprintf(w, "| %s ", pair(duration(ours, unit), duration(theirs, unit)))
	}
	ratio, least, most, err := measured.ratio(r.figure(callers.Rival, perOp), r.figure(callers.Redstart, perOp))
	if err != nil {
		return 0, err
	}
	times := fmt.Sprintf("%.3g×", ratio)
	goal, mark := "", ""
	switch {
	case r.work.Goal > 0 && r.work.Smallest(r.at):
		goal = fmt.Sprintf("≥ %g×", r.work.Goal)
		name := fmt.Sprintf("%s: %s, 1 caller, compared with %s", r.work.Pattern, r.work.What, r.work.Rival)
		mark = found.goal(ratio >= r.work.Goal, name, times, goal)
	case ratio < 1:
		mark = behind
	}
	fmt.Fprintf(w, "| %s%s | %s | %s |\n", times, spread("%.2g", least, most), goal, mark)
	return ratio, nil
}

// pair joins two times, with one unit if they have the same: 1.5 / 3 µs.
func pair(ours, theirs string) string {
	value, unit, _ := strings.Cut(ours, " ")
	if strings.HasSuffix(theirs, " "+unit) {
		ours = value
	}
	return ours + " / " + theirs
}

// payload formats a size. A work without payload has none.
func payload(bytes int) string {
	switch {
	case bytes == 0:
		return ""
	case bytes >= 1_000_000:
		return fmt.Sprintf("%g MB", float64(bytes)/1e6)
	case bytes >= 1000:
		return fmt.Sprintf("%g KB", float64(bytes)/1e3)
	}
	return fmt.Sprintf("%d B", bytes)
}

// duration formats a time in ns or µs.
func duration(value float64, unit string) string {
	if unit != perOp {
		value *= 1000
	}
	switch {
	case value >= 1e9:
		return fmt.Sprintf("%.3g s", value/1e9)
	case value >= 1e6:
		return fmt.Sprintf("%.3g ms", value/1e6)
	case value >= 1e3:
		return fmt.Sprintf("%.3g µs", value/1e3)
	}
	return fmt.Sprintf("%.0f ns", value)
}

// ratio returns the median, the minimum and the maximum of a/b, with one value per round.
func (s samples) ratio(a, b figure) (middle, least, most float64, err error) {
	if len(s[a]) == 0 || len(s[a]) != len(s[b]) {
		return 0, 0, 0, fmt.Errorf("%s: %d rounds, %s: %d rounds: %w", a.benchmark, len(s[a]), b.benchmark, len(s[b]),
			errNotMeasured)
	}
	var all []float64
	for i, value := range s[a] {
		all = append(all, value/s[b][i])
	}
	slices.Sort(all)
	return middleOf(all), all[0], all[len(all)-1], nil
}
