package chaos_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// report is what a run found.
type report struct {
	name   string
	seed   uint64
	lasted time.Duration
	faults []fault

	confirmed, lost, early, again int
	holds, overlaps, tokens       int
	fenced, refused, unfenced     int
	sessions, undead, returned    int
	stale, lostSessions           int
	admitted, limit               int
	counts                        map[string]int
}

// fault is one fault that happened.
type fault struct {
	kind      string
	recovered time.Duration // from its begin until each worker has succeeded with each pattern
}

// String returns the report as Markdown.
func (r *report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "### %s\n\n%d faults in %v, seed %d.\n\n", r.name, len(r.faults), r.lasted.Round(time.Second), r.seed)
	b.WriteString("| guarantee | checked | violations |\n|---|---|---|\n")
	for _, row := range []struct {
		name       string
		checked    string
		violations int
	}{
		{"E1: a confirmed event is handled", fmt.Sprintf("%d events, %d handled again", r.confirmed, r.again), r.lost},
		{"E4: no event before an earlier one of its channel", fmt.Sprint(r.confirmed, " events"), r.early},
		{"K2: tokens grow with the grants", fmt.Sprintf("%d grants", r.holds), r.tokens},
		{"K2: no holder writes after a newer one", fmt.Sprintf("%d fenced calls, %d writes refused", r.fenced, r.refused), r.unfenced},
		{"C1: no value older than an invalidation", fmt.Sprint(r.counts["reads"], " reads"), r.stale},
		{"S1: a revoked session is not found", fmt.Sprint(r.sessions, " calls"), r.undead},
	} {
		fmt.Fprintf(&b, "| %s | %s | %d |\n", row.name, row.checked, row.violations)
	}
	fmt.Fprintf(&b, "\nStated limits, which are no violations:\n\n"+
		"- Two processes held a lock at the same time: %d. The older one has the lower token, so a fenced resource refuses it.\n"+
		"- New sessions that failovers lost: %d.\n"+
		"- Sessions that a load did not find during their revocation, and that a later load found before its end: %d.\n"+
		"- Calls that the limit admitted: %d; without failovers and clock steps at most %d.\n\n",
		r.overlaps, r.lostSessions, r.returned, r.admitted, r.limit)

	b.WriteString("| fault | times | recovered after, median | worst |\n|---|---|---|---|\n")
	byKind := map[string][]time.Duration{}
	for _, f := range r.faults {
		byKind[f.kind] = append(byKind[f.kind], f.recovered)
	}
	kinds := make([]string, 0, len(byKind))
	for kind := range byKind {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	for _, kind := range kinds {
		took := byKind[kind]
		slices.Sort(took)
		fmt.Fprintf(&b, "| %s | %d | %.2f s | %.2f s |\n", kind, len(took), took[len(took)/2].Seconds(), took[len(took)-1].Seconds())
	}
	return b.String()
}

const (
	beginMark = "<!-- measured by make chaos -->\n"
	endMark   = "<!-- end -->\n"
)

// write replaces the measured part of a file.
func write(file string, reports []*report) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(old), beginMark)
	_, after, ended := strings.Cut(rest, endMark)
	if !found || !ended {
		return fmt.Errorf("%s has no part between %q and %q", file, beginMark, endMark)
	}
	var b strings.Builder
	b.WriteString(before + beginMark)
	for _, r := range reports {
		b.WriteString("\n" + r.String())
	}
	b.WriteString("\n" + endMark + after)
	return os.WriteFile(file, []byte(b.String()), 0o644)
}
