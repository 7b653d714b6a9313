package embedded

import (
	"testing"
	"time"
)

func TestStopwatchTakesTheLargerClock(t *testing.T) {
	t.Parallel()
	start := time.Now()
	w := stopwatch{start: start}
	if got := w.elapsed(start.Add(time.Second)); got != time.Second {
		t.Errorf("a second later: %v", got)
	}
	// Suspended for an hour: only the wall clock has moved.
	wall := start.Round(0).Add(time.Hour)
	if got := w.elapsed(wall); got != time.Hour {
		t.Errorf("after an hour of suspension: %v", got)
	}
}
