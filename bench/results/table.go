package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/redstart-go/redstart/bench/callers"
)

// write prints all tables. about describes the machine and the versions.
func write(w io.Writer, chosen selection, m measurement, each time.Duration, about string) error {
	fmt.Fprintf(w, "# Results\n\n"+
		"`make bench` writes this page and the charts in [docs/bench](../docs/bench). Each round runs all benchmarks, those of\n"+
		"Redstart and of the other libraries, on one machine over loopback. A table has the medians of %s of %s per\n"+
		"benchmark, in brackets the minimum and the maximum. On another machine, times and ratios\n"+
		"differ: see [two machines](../docs/design/0010-call-layer.md#two-machines).\n\n"+
		"%s\n%s", count(m.rounds, "round"), duration(float64(each), perOp), about, callerNote)
	var tables bytes.Buffer
	var found summary
	for _, pattern := range patterns() {
		var lines bytes.Buffer
		if err := section(&lines, pattern, chosen, m.samples, &found); err != nil {
			return err
		}
		if lines.Len() > 0 {
			fmt.Fprintf(&tables, "\n## %s\n%s", pattern, lines.Bytes())
		}
	}
	found.write(w)
	_, err := w.Write(tables.Bytes())
	return err
}

// count formats a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// section prints the tables of a pattern.
func section(w io.Writer, pattern string, chosen selection, measured samples, found *summary) error {
	head := "\n| work | Redstart | compared with | | ratio | goal | |\n|---|---|---|---|---|---|---|\n"
	var missed []string
	for _, r := range chosen.rows {
		if r.pattern != pattern {
			continue
		}
		fmt.Fprint(w, head)
		head = ""
		before := len(found.missed)
		if err := r.lines(w, measured, found); err != nil {
			return err
		}
		if len(found.missed) > before {
			missed = append(missed, r.work)
		}
	}
	for _, work := range missed {
		printCause(w, pattern+": "+work)
	}
	for _, work := range callers.Works {
		if work.Pattern != pattern {
			continue
		}
		if err := workSection(w, work, chosen.callers, measured, found); err != nil {
			return err
		}
	}
	return nil
}

// lines prints a row with one line per comparison.
func (r row) lines(w io.Writer, measured samples, found *summary) error {
	ours, least, most, err := measured.median(r.ours)
	if err != nil {
		return err
	}
	work, figure, name := r.work, amount(ours, least, most, r.ours.unit), r.pattern+": "+r.work+", "
	line := func(with, theirs, ratio, goal, verdict string) {
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s | %s |\n", work, figure, with, theirs, ratio, goal, verdict)
		work, figure = "", ""
	}
	for _, other := range r.against {
		theirs, least, most, err := measured.median(other.figure)
		if err != nil {
			return err
		}
		ratio, sign, kept := theirs/ours, "≥", theirs/ours >= other.goal
		if other.atMost {
			ratio, sign, kept = ours/theirs, "≤", ours/theirs <= other.goal
		}
		times := fmt.Sprintf("%.3g×", ratio)
		goal, mark := "", ""
		if other.goal != 0 {
			goal = fmt.Sprintf("%s %g×", sign, other.goal)
			mark = found.goal(kept, name+"compared with "+other.name, times, goal)
		}
		line(other.name, amount(theirs, least, most, other.figure.unit), times, goal, mark)
	}
	for _, l := range r.limits {
		value, _, _, err := measured.median(l.figure)
		if err != nil {
			return err
		}
		sign, kept := "≤", value <= l.most
		if l.least {
			sign, kept = "≥", value >= l.most
		}
		amount, goal := fmt.Sprintf("%.4g", value), fmt.Sprintf("%s %.4g", sign, l.most)
		line(l.what, amount, "", goal, found.goal(kept, name+l.what, amount, goal))
	}
	if figure != "" {
		line("", "", "", "", "")
	}
	return nil
}

const (
	yes    = "kept"
	no     = "**missed**"
	behind = "slower" // a row without a goal
)

// spread formats the minimum and the maximum of several rounds.
func spread(format string, least, most float64) string {
	if least == most {
		return ""
	}
	return fmt.Sprintf(" ("+format+"–"+format+")", least, most)
}

// amount formats a figure for people.
func amount(middle, least, most float64, unit string) string {
	scale, name := 1.0, " "+strings.TrimSuffix(unit, "/op")
	switch {
	case unit == perOp && middle >= 1e6:
		scale, name = 1e6, " ms"
	case unit == perOp && middle >= 1e3:
		scale, name = 1e3, " µs"
	case unit == perOp:
		name = " ns"
	case strings.HasSuffix(unit, "µs"):
		name = " µs"
	case strings.HasSuffix(unit, "ms"):
		name = " ms"
	}
	return fmt.Sprintf("%.3g%s", middle/scale, name) + spread("%.3g", least/scale, most/scale)
}
