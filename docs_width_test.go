package redstart_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

const maxDocumentColumns = 120

// TestDocsLinesAreNarrow checks the width of the documents, so that they can be read in a terminal
// and compared line by line. RESULTS.md is written by make bench.
func TestDocsLinesAreNarrow(t *testing.T) {
	t.Parallel()
	for _, file := range sources(t, ".md") {
		if file == "bench/RESULTS.md" {
			continue
		}
		for _, problem := range wideLines(readFile(t, file)) {
			t.Errorf("%s:%s", file, problem)
		}
	}
}

// TestDocsLinesFindsAPlantedLine feeds the check with each kind of line.
func TestDocsLinesFindsAPlantedLine(t *testing.T) {
	t.Parallel()
	wide := strings.Repeat("word ", 25)
	text := "# A\n| " + wide + "|\n```\n" + wide + "\n```\n- [`" + wide + "`](a_test.go)\n" + wide + "\n"
	want := "7: 125 columns, the limit is 120"
	if got := wideLines(text); len(got) != 1 || got[0] != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// wideLines returns the lines that can be broken and are wider than the limit. Rows of tables, code
// and links to tests can't be broken.
func wideLines(text string) []string {
	var problems []string
	inCode := false
	for i, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "```") {
			inCode = !inCode
		}
		if inCode || strings.HasPrefix(line, "|") || strings.HasPrefix(line, "- [`") {
			continue
		}
		if columns := utf8.RuneCountInString(line); columns > maxDocumentColumns {
			problems = append(problems, fmt.Sprintf("%d: %d columns, the limit is %d", i+1, columns, maxDocumentColumns))
		}
	}
	return problems
}
