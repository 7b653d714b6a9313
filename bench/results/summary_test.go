package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/bench/callers"
)

// TestSummary writes a page on which one work is slower than the other library with 4 callers, and
// reads its summary.
func TestSummary(t *testing.T) {
	measured := samples{}
	var chosen selection
	for _, r := range callerRows() {
		if r.work.Name != "lock" {
			continue
		}
		chosen.callers = append(chosen.callers, r)
		for _, unit := range units {
			measured[r.figure(callers.Redstart, unit)] = []float64{1000}
			measured[r.figure(callers.Rival, unit)] = []float64{1050}
			if r.at.Callers == 4 {
				measured[r.figure(callers.Rival, unit)] = []float64{800}
			}
		}
	}
	var page strings.Builder
	if err := write(&page, chosen, measurement{samples: measured, rounds: 1}, time.Second, ""); err != nil {
		t.Fatal(err)
	}
	const title = "lock: acquire and release, a name per caller"
	for _, want := range []string{
		"1 goal, 0 kept, 1 missed:\n\n- " + title + ", 1 caller, compared with redislock: 1.05×, goal ≥ 1.1×\n",
		"| " + title + " | 7 | 6 | 1 | 0.8× | 1.05× | 1.05× |\n",
		"| 0.8× |  | slower |\n",
		causes[title],
	} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page has no %q:\n%s", want, page.String())
		}
	}
}

// TestNoCauseWithoutASlowerRow: a cause next to rows that are all faster would be wrong.
func TestNoCauseWithoutASlowerRow(t *testing.T) {
	r := callerRows()[0]
	var page strings.Builder
	if err := workSection(&page, r.work, []callerRow{r}, twice(r), &summary{}); err != nil {
		t.Fatal(err)
	}
	if cause := causes[r.work.Pattern+": "+r.work.What]; cause == "" || strings.Contains(page.String(), cause) {
		t.Errorf("the cause %q:\n%s", cause, page.String())
	}
}

// TestCauses: each cause belongs to a work or to a row, and links to a section of a design note.
func TestCauses(t *testing.T) {
	var titles []string
	for _, work := range callers.Works {
		titles = append(titles, work.Pattern+": "+work.What)
	}
	for _, r := range rows {
		titles = append(titles, r.pattern+": "+r.work)
	}
	for title, cause := range causes {
		if !slices.Contains(titles, title) {
			t.Errorf("%q is no work and no row", title)
		}
		link := regexp.MustCompile(`\(\.\./docs/design/([^)#]+)#?([^)]*)\)`).FindStringSubmatch(cause)
		if link == nil {
			t.Errorf("the cause of %q has no link to a design note", title)
			continue
		}
		note, err := os.ReadFile(filepath.Join("../../docs/design", link[1]))
		if err != nil {
			t.Error(err)
		}
		if link[2] != "" && !slices.Contains(anchors(string(note)), link[2]) {
			t.Errorf("%q: %s has no section %s", title, link[1], link[2])
		}
	}
}

// anchors returns the links of the headings of a document.
func anchors(document string) (all []string) {
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(document, -1) {
		all = append(all, strings.ReplaceAll(strings.ToLower(heading[1]), " ", "-"))
	}
	return all
}
