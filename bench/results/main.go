// Command results runs the benchmarks that compare Redstart with other libraries in several rounds,
// and writes the medians and the goals as a table.
//
//	go run ./results                     every row, five rounds, into RESULTS.md
//	go run ./results -only lock -out -   the rows of one pattern, on standard output
//
// Each round runs each benchmark once. So the measurements of Redstart and of a rival are close in
// time, and other load of the machine affects both.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	rounds := flag.Int("rounds", 5, "how often each benchmark runs; the medians count")
	each := flag.String("benchtime", "1s", "how long each benchmark runs, as go test -benchtime")
	only := flag.String("only", "", "the rows of one pattern: "+strings.Join(patterns(), ", "))
	out := flag.String("out", "RESULTS.md", "the file to write; - is standard output")
	flag.Parse()
	if err := run(*rounds, *each, *only, *out); err != nil {
		fmt.Fprintln(os.Stderr, "results:", err)
		os.Exit(1)
	}
}

func run(rounds int, each, only, out string) error {
	if only != "" && !slices.Contains(patterns(), only) {
		return fmt.Errorf("-only %s: unknown pattern, want one of %s", only, strings.Join(patterns(), ", "))
	}
	if rounds < 1 {
		return fmt.Errorf("-rounds %d: want at least 1", rounds)
	}
	chosen := slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return only != "" && r.pattern != only })
	measured, err := measure(chosen, rounds, each)
	if err != nil {
		return err
	}
	var table bytes.Buffer
	if err := write(&table, chosen, measured, rounds, each); err != nil {
		return err
	}
	if out == "-" {
		_, err = os.Stdout.Write(table.Bytes())
		return err
	}
	fmt.Fprintln(os.Stderr, "writing", out)
	return os.WriteFile(out, table.Bytes(), 0o644)
}

// measure builds the test binary of each package once and runs it once per round.
func measure(chosen []row, rounds int, each string) (samples, error) {
	dir, err := os.MkdirTemp("", "redstart-bench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	wanted := benchmarks(chosen)
	folders := slices.Sorted(func(yield func(string) bool) {
		for folder := range wanted {
			if !yield(folder) {
				return
			}
		}
	})
	binary := func(folder string) string {
		return filepath.Join(dir, strings.NewReplacer("/", "-", ".", "").Replace(folder)+".test")
	}
	for _, folder := range folders {
		build := exec.Command("go", "test", "-c", "-o", binary(folder), ".")
		build.Dir, build.Stderr = folder, os.Stderr
		if err := build.Run(); err != nil {
			return nil, fmt.Errorf("build the benchmarks of %s: %w", folder, err)
		}
	}
	all := samples{}
	for round := range rounds {
		for _, folder := range folders {
			fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, rounds, folder)
			bench := exec.Command(binary(folder), "-test.run=^$",
				"-test.bench=^("+strings.Join(wanted[folder], "|")+")$", "-test.benchmem", "-test.benchtime="+each,
				"-test.timeout=10m")
			var output bytes.Buffer
			bench.Env = append(os.Environ(), "REDSTART_TESTS=all") // enables the benchmarks that need a server
			bench.Dir, bench.Stdout, bench.Stderr = folder, &output, os.Stderr
			if err := bench.Run(); err != nil {
				return nil, fmt.Errorf("benchmarks of %s: %w\n%s", folder, err, output.Bytes())
			}
			if err := all.read(folder, io.Reader(&output)); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}
