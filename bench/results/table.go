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
		"benchmark, in brackets the minimum and the maximum. On another machine the times differ, and the ratios are similar.\n\n"+
		"%s\n%s", count(m.rounds, "round"), duration(float64(each), perOp), about, callerNote)
	missed := 0
	for _, pattern := range patterns() {
		var lines bytes.Buffer
		n, err := section(&lines, pattern, chosen, m.samples)
		if err != nil {
			return err
		}
		missed += n
		if lines.Len() > 0 {
			fmt.Fprintf(w, "\n## %s\n%s", pattern, lines.Bytes())
		}
	}
	fmt.Fprintf(w, "\nGoals missed: %d.\n", missed)
	return nil
}

// count formats a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// section prints the tables of a pattern, and returns the number of missed goals.
func section(w io.Writer, pattern string, chosen selection, measured samples) (missed int, err error) {
	head := "\n| work | Redstart | compared with | | ratio | goal | |\n|---|---|---|---|---|---|---|\n"
	for _, r := range chosen.rows {
		if r.pattern != pattern {
			continue
		}
		fmt.Fprint(w, head)
		head = ""
		n, err := r.lines(w, measured)
		if err != nil {
			return 0, err
		}
		missed += n
	}
	for _, work := range callers.Works {
		if work.Pattern != pattern {
			continue
		}
		n, err := workSection(w, work, chosen.callers, measured)
		if err != nil {
			return 0, err
		}
		missed += n
	}
	return missed, nil
}

// lines prints a row with one line per comparison, and returns the number of missed goals.
func (r row) lines(w io.Writer, measured samples) (missed int, err error) {
	ours, least, most, err := measured.median(r.ours)
	if err != nil {
		return 0, err
	}
	work, figure := r.work, amount(ours, least, most, r.ours.unit)
	line := func(with, theirs, ratio, goal, verdict string) {
		if verdict == no {
			missed++
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s | %s |\n", work, figure, with, theirs, ratio, goal, verdict)
		work, figure = "", ""
	}
	for _, other := range r.against {
		theirs, least, most, err := measured.median(other.figure)
		if err != nil {
			return 0, err
		}
		ratio, sign, kept := theirs/ours, "≥", theirs/ours >= other.goal
		if other.atMost {
			ratio, sign, kept = ours/theirs, "≤", ours/theirs <= other.goal
		}
		goal, mark := "", ""
		if other.goal != 0 {
			goal, mark = fmt.Sprintf("%s %g×", sign, other.goal), verdict(kept)
		}
		line(other.name, amount(theirs, least, most, other.figure.unit), fmt.Sprintf("%.3g×", ratio), goal, mark)
	}
	for _, l := range r.limits {
		value, _, _, err := measured.median(l.figure)
		if err != nil {
			return 0, err
		}
		sign, kept := "≤", value <= l.most
		if l.least {
			sign, kept = "≥", value >= l.most
		}
		line(l.what, fmt.Sprintf("%.4g", value), "", fmt.Sprintf("%s %.4g", sign, l.most), verdict(kept))
	}
	if figure != "" {
		line("", "", "", "", "")
	}
	return missed, nil
}

const (
	yes = "kept"
	no  = "**missed**"
)

func verdict(kept bool) string {
	if kept {
		return yes
	}
	return no
}

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
