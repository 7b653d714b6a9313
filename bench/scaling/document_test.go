package scaling_test

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// table returns the document, and where its table after <!-- measured by bench/scaling: name -->
// is.
func table(t testing.TB, name string) (text string, begin, end int) {
	t.Helper()
	content, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	mark := "<!-- measured by bench/scaling: " + name + " -->"
	at := regexp.MustCompile(`(?s)` + regexp.QuoteMeta(mark) + `\n(.*?)\n\n`).FindSubmatchIndex(content)
	if at == nil {
		t.Fatalf("%s has no table after %s", document, mark)
	}
	return string(content), at[2], at[3]
}

// replace writes a table into the document.
func replace(t testing.TB, name, with string) {
	t.Helper()
	text, begin, end := table(t, name)
	text = text[:begin] + strings.TrimSpace(with) + text[end:]
	if err := os.WriteFile(document, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// documented returns the lines of a table of the document. With REDSTART_UPDATE=1 it writes the
// measured table instead, and returns nil.
func documented(t *testing.T, name, measured string) []string {
	t.Helper()
	if os.Getenv("REDSTART_UPDATE") == "1" {
		replace(t, name, measured)
		return nil
	}
	text, begin, end := table(t, name)
	return strings.Split(text[begin:end], "\n")
}

// compare fails if a number of a column differs from the document by more than ratio, and by more
// than 0.2.
func compare(t *testing.T, name, measured string, ratio float64, columns ...int) {
	t.Helper()
	want := documented(t, name, measured)
	if want == nil {
		return
	}
	got := strings.Split(strings.TrimSpace(measured), "\n")
	if len(got) != len(want) {
		t.Fatalf("%s has %d lines, the measurement has %d; run make docs", document, len(want), len(got))
	}
	for i := 2; i < len(got); i++ {
		now, then := strings.Split(got[i], "|"), strings.Split(want[i], "|")
		for _, column := range columns {
			a, errA := strconv.ParseFloat(strings.TrimSpace(now[column]), 64)
			b, errB := strconv.ParseFloat(strings.TrimSpace(then[column]), 64)
			if errA != nil || errB != nil || a > ratio*b+0.2 || a < b/ratio-0.2 {
				t.Errorf("%s has\n%s\nthe measurement is\n%s", document, want[i], got[i])
				break
			}
		}
	}
}
