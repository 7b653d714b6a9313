package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// measurement is the result of all complete rounds.
type measurement struct {
	samples samples
	rounds  int
	others  otherLoad
}

// measure builds the test binary of each package once and runs it once per round. It makes fewer
// rounds than o.rounds if they would take longer than o.within. After a round that failed, it
// returns the rounds before it, and the error.
func measure(chosen selection, o options) (m measurement, err error) {
	dir, err := os.MkdirTemp("", "redstart-bench")
	if err != nil {
		return m, err
	}
	defer os.RemoveAll(dir)
	wanted := benchmarks(chosen)
	folders := slices.Sorted(maps.Keys(wanted))
	binaries := map[string]string{}
	for i, folder := range folders {
		fmt.Fprintf(os.Stderr, "building the benchmarks of %s\n", folder)
		binaries[folder] = filepath.Join(dir, fmt.Sprint(i, ".test"))
		build := exec.Command("go", "test", "-c", "-o", binaries[folder], ".")
		build.Dir, build.Stderr = folder, os.Stderr
		if err := build.Run(); err != nil {
			return m, fmt.Errorf("build the benchmarks of %s: %w", folder, err)
		}
	}

	began, load := time.Now(), startLoad()
	m, err = o.repeat(began, func(number int) (samples, error) {
		round := samples{}
		for _, folder := range folders {
			fmt.Fprintf(os.Stderr, "round %d of %d, %v: %s\n", number, o.rounds, time.Since(began).Round(time.Second), folder)
			left := o.within - time.Since(began)
			if err := runBenchmarks(binaries[folder], folder, wanted[folder], o.each, left, round); err != nil {
				return nil, err
			}
		}
		return round, nil
	})
	m.others = load.end()
	return m, err
}

// repeat runs the rounds. One that fails does not count.
func (o options) repeat(began time.Time, round func(number int) (samples, error)) (measurement, error) {
	m, longest := measurement{samples: samples{}}, time.Duration(0)
	for o.another(m.rounds, time.Since(began), longest) {
		start := time.Now()
		measured, err := round(m.rounds + 1)
		if err != nil {
			return m, fmt.Errorf("round %d does not count: %w", m.rounds+1, err)
		}
		m.samples.add(measured)
		longest = max(longest, time.Since(start))
		m.rounds++
	}
	if m.rounds < o.rounds {
		fmt.Fprintf(os.Stderr, "%d of %d rounds: the next one would end after %v\n", m.rounds, o.rounds, o.within)
	}
	return m, nil
}

// another reports whether a further round starts: always the first one, then as long as one that
// takes a tenth longer than the longest so far ends in time.
func (o options) another(done int, elapsed, longest time.Duration) bool {
	return done == 0 || done < o.rounds && elapsed+longest+longest/10 <= o.within
}

// runBenchmarks runs the benchmarks of a folder once, and adds their figures to a round. The
// benchmarks end within the time that is left.
func runBenchmarks(binary, folder string, names []string, each, left time.Duration, round samples) error {
	if left <= 0 {
		return fmt.Errorf("no time is left for the benchmarks of %s: use -short, -only or a longer -within", folder)
	}
	bench := exec.Command(binary, "-test.run=^$", "-test.bench="+expression(names), "-test.benchmem",
		fmt.Sprint("-test.benchtime=", each), fmt.Sprint("-test.timeout=", left))
	var output bytes.Buffer
	bench.Env = append(os.Environ(), "REDSTART_TESTS=all") // enables the benchmarks that need a server
	bench.Dir, bench.Stdout, bench.Stderr = folder, &output, os.Stderr
	if err := bench.Run(); err != nil {
		return fmt.Errorf("benchmarks of %s: %w\n%s", folder, err, output.Bytes())
	}
	return round.read(folder, io.Reader(&output))
}

// expression returns the value of -test.bench that selects these benchmarks and no others.
func expression(names []string) string {
	var all []string
	for _, name := range names {
		parts := strings.Split(name, "/")
		for i, part := range parts {
			parts[i] = "^" + regexp.QuoteMeta(part) + "$"
		}
		all = append(all, strings.Join(parts, "/"))
	}
	return strings.Join(all, "|")
}
