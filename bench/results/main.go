// Command results runs the benchmarks that compare Redstart with other libraries in several rounds,
// and writes the medians and the goals as a table.
//
//	go run ./results                every row, five rounds, into RESULTS.md and ../docs/bench
//	go run ./results -only lock     the rows of one pattern, on standard output
//	go run ./results -short         one round of short runs: the figures are rough
//	go run ./results -within 30m    more time; the default is 15 minutes for all rounds
//
// Each round runs each benchmark once. So the measurements of Redstart and of a rival are close in
// time, and other load of the machine affects both. Two things bound the time of a run: a benchmark
// runs for -benchtime, and a round that would end after -within does not start. The table states
// the number of rounds. The time to build the benchmarks is not part of -within.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

func main() {
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "results:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	rounds            int
	each              time.Duration
	within            time.Duration
	only, out, charts string
}

// toStdout is the value of -out for the standard output.
const toStdout = "-"

// parse reads the flags.
func parse(args []string) (o options, err error) {
	flags := flag.NewFlagSet("results", flag.ContinueOnError)
	short := flags.Bool("short", false, "the same as -rounds 1 -benchtime 20ms")
	flags.IntVar(&o.rounds, "rounds", 5, "how often each benchmark runs; the medians count")
	flags.DurationVar(&o.each, "benchtime", 100*time.Millisecond, "how long each benchmark runs")
	flags.DurationVar(&o.within, "within", 15*time.Minute, "the time of all rounds: a round that would end later does not start")
	flags.StringVar(&o.only, "only", "", "the rows of one pattern: "+strings.Join(patterns(), ", "))
	flags.StringVar(&o.out, "out", "", "the file to write, - for standard output; the default is RESULTS.md, and - with -only")
	flags.StringVar(&o.charts, "charts", "../docs/bench", "the folder of the SVG charts, which -out - does not write; empty: no charts")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if *short {
		o.rounds, o.each = 1, 20*time.Millisecond
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unknown arguments: %s", strings.Join(flags.Args(), " "))
	case o.only != "" && !slices.Contains(patterns(), o.only):
		return o, fmt.Errorf("-only %s: unknown pattern, want one of %s", o.only, strings.Join(patterns(), ", "))
	case o.rounds < 1:
		return o, fmt.Errorf("-rounds %d: want at least 1", o.rounds)
	case o.each <= 0:
		return o, fmt.Errorf("-benchtime %v: want a positive duration", o.each)
	case o.out == "" && o.only != "":
		o.out = toStdout // RESULTS.md has all patterns
	case o.out == "":
		o.out = "RESULTS.md"
	}
	return o, nil
}

// selection are the rows of a run.
type selection struct {
	rows    []row
	callers []callerRow
}

// choose returns the rows of a pattern, or all rows if it is empty.
func choose(only string) selection {
	return selection{
		slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return only != "" && r.pattern != only }),
		slices.DeleteFunc(callerRows(), func(r callerRow) bool { return only != "" && r.work.Pattern != only }),
	}
}

// run measures and writes. If a round fails after others succeeded, it writes those, and returns
// the error.
func run(o options) error {
	chosen := choose(o.only)
	m, failed := measure(chosen, o)
	if m.rounds == 0 {
		return failed
	}
	about, err := describe(m)
	if err != nil {
		return errors.Join(failed, err)
	}
	var table bytes.Buffer
	if err := write(&table, chosen, m, o.each, about); err != nil {
		return errors.Join(failed, err)
	}
	if o.out == toStdout {
		_, err = os.Stdout.Write(table.Bytes())
		return errors.Join(failed, err)
	}
	if o.charts != "" {
		names, err := writeCharts(o.charts, chosen.callers, m.samples)
		if err != nil {
			return errors.Join(failed, err)
		}
		fmt.Fprintf(os.Stderr, "wrote %d charts into %s\n", len(names), o.charts)
	}
	fmt.Fprintln(os.Stderr, "writing", o.out)
	return errors.Join(failed, os.WriteFile(o.out, table.Bytes(), 0o644))
}
