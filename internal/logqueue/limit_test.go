package logqueue_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/logqueue"
)

// A message about a subject is logged at most once in 10 s. The next line counts the suppressed
// ones.
func TestLimitCountsWhatItSuppresses(t *testing.T) {
	t.Parallel()
	var l logqueue.Limit
	for _, step := range []struct {
		at               time.Duration
		message, subject string
		suppressed       int
		ok               bool
	}{
		{0, "lost", "a", 0, true},
		{time.Second, "lost", "a", 0, false},
		{time.Second, "lost", "b", 0, true},
		{time.Second, "restored", "a", 0, true},
		{10*time.Second - 1, "lost", "a", 0, false},
		{10 * time.Second, "lost", "a", 2, true},
		{21 * time.Second, "lost", "a", 0, true},
	} {
		if suppressed, ok := l.Allow(step.message, step.subject, step.at); suppressed != step.suppressed || ok != step.ok {
			t.Errorf("%s of %s at %v: %d, %v, want %d, %v", step.message, step.subject, step.at, suppressed,
				ok, step.suppressed, step.ok)
		}
	}
}

// With too many subjects, the limit forgets all of them. So its memory stays bounded, and a few
// more lines are logged.
func TestLimitIsBounded(t *testing.T) {
	t.Parallel()
	var l logqueue.Limit
	for i := range 5000 {
		l.Allow("lost", fmt.Sprint(i), 0)
	}
	if _, ok := l.Allow("lost", "0", 0); !ok {
		t.Error("the first of 5000 subjects is still known")
	}
	if _, ok := l.Allow("lost", "4999", 0); ok {
		t.Error("the last of 5000 subjects is not known")
	}
}
