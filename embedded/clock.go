package embedded

import (
	"time"

	timesource "github.com/redstart-go/redstart/internal/clock"
)

// clock is the server's time. It never goes back. The server reads it once per command, so time
// stands still inside a script, as in Redis.
type clock struct {
	watch  stopwatch
	source *timesource.Source // moved by Advance; clients of a test may follow it
	now    int64              // microseconds since 1970
}

func newClock(source *timesource.Source) clock {
	start := time.Now()
	return clock{watch: stopwatch{start: start}, source: source, now: start.UnixMicro()}
}

// move advances the time by the clocks of the machine.
func (c *clock) move() {
	elapsed := c.watch.elapsed(time.Now()) + c.source.Ahead()
	c.now = max(c.now, c.watch.start.Add(elapsed).UnixMicro())
}

// until returns how long it takes until the server's time is at.
func (c *clock) until(at int64) time.Duration {
	return max(time.Duration(at-c.now)*time.Microsecond, 0)
}

// stopwatch returns the time since start: the larger of monotonic and wall time, because the
// monotonic clock stops while a machine is suspended.
type stopwatch struct{ start time.Time }

func (w stopwatch) elapsed(now time.Time) time.Duration {
	return max(now.Sub(w.start), now.Round(0).Sub(w.start.Round(0)))
}
