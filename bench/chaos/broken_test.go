package chaos_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// recorder collects the failures of a check.
type recorder struct{ failures []string }

func (*recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

// The check finds each violation in a history that has it, and finds none in others.
func TestTheCheckFindsViolations(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, lines, want string // want is in the only failure; "": no failure
	}{
		{"events in order", "p c 1|p c 2|h c 1 10|h c 2 20", ""},
		{"an event handled twice", "p c 1|h c 1 10|h c 1 20", ""},
		{"lines of two workers in another order", "p c 2|h c 2 20|h c 1 10", ""},
		{"a lost event", "p c 1|p c 2|h c 1 10", "1 of 2 confirmed events were not handled"},
		{"a lost event before a handled one", "p c 3|h c 1 10|h c 2 20|h c 2 30|p d 1", "2 of 4 confirmed events"},
		{"an early event", "p c 2|h c 2 10|h c 1 20", "channel: c: 2 after 0 at 00:00:00.000"},
		{"the events after an early one are in order", "p c 4|h c 1 0|h c 3 10|h c 2 20|h c 4 30|h c 3 40",
			"channel: c: 3 after 1 at 00:00:00.000"},

		{"one holder after the other", "l x 1 0 1 5|l x 2 3 6 9", ""},
		{"two holders at once", "l x 1 0 1 50|l x 2 3 6 9", ""},
		{"requests overlap, either can be first", "l x 2 0 1 2|l x 1 0 3 4", ""},

		{"a newer holder refuses the older one",
			"fence a x 1 v1 10|fenced a true - 11|fence b x 2 v2 12|fenced b true - 13|fence c x 1 v3 14|fenced c false - 15|" +
				"fence d x 0 - 16|fenced d true v2 17", ""},
		{"an older holder writes after a newer one", "fence a x 2 v2 10|fenced a true - 11|fence b x 1 v1 12|fenced b true - 13",
			"values that a lock protects: x: Illegal"},
		{"the newest holder is refused", "fence a x 1 v1 10|fenced a true - 11|fence b x 2 v2 12|fenced b false - 13",
			"values that a lock protects: x: Illegal"},
		{"an accepted write is lost", "fence a x 1 v1 10|fenced a true - 11|fence b x 0 - 12|fenced b true - 13",
			"values that a lock protects: x: Illegal"},
		{"two writes at once, either can be last", "fence a x 2 v2 10|fence b x 2 v1 10|fenced a true - 20|fenced b true - 20|" +
			"fence c x 0 - 21|fenced c true v2 22", ""},
		{"a killed writer has written", "fence a x 1 v1 10|fence b x 0 - 12|fenced b true v1 13", ""},
		{"a killed writer has not written", "fence a x 1 v1 10|fence b x 0 - 12|fenced b true - 13", ""},
		{"a killed writer writes twice", "fence a x 1 v1 10|fence b x 0 - 12|fenced b true v1 13|fence c x 2 v2 14|fenced c true - 15|" +
			"fence d x 0 - 16|fenced d true v1 17", "values that a lock protects: x: Illegal"},

		{"a session until its end",
			"session s create 1 2 true|session s load 3 4 true|session s revoke 5 6 true|session s load 7 8 false", ""},
		{"a load during the revocation", "session s create 1 2 true|session s revoke 5 9 true|session s load 6 7 true|" +
			"session s load 6 8 false", ""},
		{"a failover loses a session", "session s create 1 2 true|session s load 3 4 false|session s revoke 5 6 true", ""},
		{"found after the revocation", "session s create 1 2 true|session s revoke 5 6 true|session s load 7 8 true",
			"revoked sessions: s: Illegal"},
		{"found again during the revocation",
			"session s create 1 2 true|session s revoking 5 5 false|session s load 6 7 false|session s load 8 9 true|" +
				"session s revoke 5 20 true", ""},
		{"found again without a revocation", "session s create 1 2 true|session s load 6 7 false|session s load 8 9 true",
			"revoked sessions: s: Ok"},
		{"found again before the revocation",
			"session s create 1 2 true|session s load 3 4 false|session s revoking 5 5 false|session s load 8 9 true",
			"revoked sessions: s: Ok"},

		{"an old value", "stale k 3 4", "old values: stale k 3 4"},
		{"a word", "nonsense", "lines of workers that mean nothing: nonsense"},
		{"a number that is none", "p c x", "lines of workers that mean nothing: p c x"},
		{"a word too many", "h c 1 10 11", "lines of workers that mean nothing: h c 1 10 11"},
		{"the end of a call that did not begin", "fenced a true - 11", "lines of workers that mean nothing: fenced a true - 11"},
	} {
		h, r := newHistory(), &recorder{}
		for line := range strings.SplitSeq(c.lines, "|") {
			h.add(0, line)
		}
		h.check(r)
		switch {
		case c.want == "" && len(r.failures) > 0:
			t.Errorf("%s: %q, want no failure", c.name, r.failures)
		case c.want != "" && (len(r.failures) != 1 || !strings.Contains(r.failures[0], c.want)):
			t.Errorf("%s: %q, want one failure with %q", c.name, r.failures, c.want)
		}
	}
}

// A grant whose token is not higher than that of an earlier grant contradicts K2 and the model of
// the fence.
func TestTheCheckFindsTokensThatDoNotGrow(t *testing.T) {
	t.Parallel()
	for _, second := range []string{"l x 4 3 4 5", "l x 5 3 4 5", "l x 5 0 3 5"} {
		h, r := newHistory(), &recorder{}
		h.add(0, "l x 5 0 1 2")
		h.add(1, second)
		report := h.check(r)
		if report.tokens != 1 || report.unfenced != 1 || len(r.failures) != 2 {
			t.Errorf("%s: %d wrong tokens, %d wrong values, failures %q", second, report.tokens, report.unfenced, r.failures)
		}
	}
}

// A wait for the recovery ends with a failure that names processes, patterns and errors.
func TestTheWaitNamesWhatHasNotRecovered(t *testing.T) {
	t.Parallel()
	h := newHistory()
	fault := time.UnixMicro(100)
	for _, pattern := range patterns {
		for worker := range workers {
			h.add(worker, "ok "+pattern+" 200")
		}
	}
	if left := h.unrecovered(fault); left != "" {
		t.Errorf("%q has not recovered, want none", left)
	}
	h.add(2, "ok handle 50") // another process handles events
	h.add(1, "ok lock 50")
	h.add(1, `error lock "lock: no primary"`)
	left := h.unrecovered(fault)
	for _, want := range []string{"process 1, lock: last success ", `ago: "lock: no primary"`} {
		if !strings.Contains(left, want) || strings.Contains(left, "process 2") {
			t.Errorf("%q, want only %q", left, want)
		}
	}
}

// Two holders at the same time are counted, because they are a stated limit.
func TestTheCheckCountsTwoHolders(t *testing.T) {
	t.Parallel()
	h := newHistory()
	for _, line := range []string{"l x 1 0 1 50", "l x 2 3 6 9", "l y 1 0 1 5", "l y 2 3 6 9"} {
		h.add(0, line)
	}
	if report := h.check(t); report.overlaps != 1 {
		t.Errorf("%d overlaps, want 1", report.overlaps)
	}
}
