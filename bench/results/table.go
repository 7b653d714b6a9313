package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
)

// write prints the table and the versions that were measured.
func write(w io.Writer, chosen []row, measured samples, rounds int, each string) error {
	about, err := versions()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "# Results\n\n"+
		"`make bench` writes this table: medians of %d rounds of %s per benchmark, in brackets the minimum and the maximum.\n"+
		"Each round runs all benchmarks, those of Redstart and of the other libraries, on one machine over loopback. On another\n"+
		"machine the times differ, and the ratios are similar.\n\n%s\n", rounds, each, about)
	missed := 0
	for _, pattern := range patterns() {
		var lines bytes.Buffer
		for _, r := range chosen {
			if r.pattern == pattern {
				n, err := r.lines(&lines, measured)
				if err != nil {
					return err
				}
				missed += n
			}
		}
		if lines.Len() > 0 {
			fmt.Fprintf(w, "\n## %s\n\n| work | Redstart | compared with | | ratio | goal | |\n|---|---|---|---|---|---|---|\n%s",
				pattern, lines.Bytes())
		}
	}
	fmt.Fprintf(w, "\nGoals missed: %d.\n", missed)
	return nil
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
	return fmt.Sprintf("%.3g%s (%.3g–%.3g)", middle/scale, name, least/scale, most/scale)
}

// versions returns the versions of the software and the processors.
func versions() (string, error) {
	server, err := exec.Command("redis-server", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("redis-server --version: %w", err)
	}
	list := exec.Command("go", append([]string{"list", "-m"}, compared...)...)
	list.Stderr = os.Stderr
	modules, err := list.Output()
	if err != nil {
		return "", fmt.Errorf("go list -m: %w", err)
	}
	release := "?"
	if found := regexp.MustCompile(`v=(\S+)`).FindSubmatch(server); found != nil {
		release = string(found[1])
	}
	return fmt.Sprintf("%s %s/%s, %s, Redis %s.\nCompared with %s.\n", runtime.Version(), runtime.GOOS,
		runtime.GOARCH, processors(), release,
		strings.Join(strings.Split(strings.TrimSpace(string(modules)), "\n"), ", ")), nil
}

// compared are the modules in the table.
var compared = []string{
	"github.com/ThreeDotsLabs/watermill-redisstream", "github.com/alexedwards/scs/v2",
	"github.com/bsm/redislock", "github.com/go-redis/cache/v9",
	"github.com/go-redis/redis_rate/v10", "github.com/go-redsync/redsync/v4", "github.com/maypok86/otter/v2",
	"github.com/redis/go-redis/v9",
	"github.com/redis/rueidis", "github.com/throttled/throttled/v2", "github.com/ulule/limiter/v3",
}

// processors returns the number of processors, and their model if the system reports it.
func processors() string {
	count := fmt.Sprintf("%d processors", runtime.NumCPU())
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return count // not Linux
	}
	if model := regexp.MustCompile(`model name\s*: (.+)`).FindSubmatch(info); model != nil {
		return fmt.Sprintf("%s (%s)", count, model[1])
	}
	return count
}
