package embedded

import "time"

// clock is the server's time. It never goes back, and it is read once per command: time stands
// still inside a script, as it does in Redis.
type clock struct {
	watch stopwatch
	ahead time.Duration // by Advance
	now   int64         // microseconds since 1970
}

func newClock() clock {
	start := time.Now()
	return clock{watch: stopwatch{start: start}, now: start.UnixMicro()}
}

// move reads the machine's clocks.
func (c *clock) move() {
	elapsed := c.watch.elapsed(time.Now()) + c.ahead
	c.now = max(c.now, c.watch.start.Add(elapsed).UnixMicro())
}

// until is how long it takes until the server's time is at.
func (c *clock) until(at int64) time.Duration {
	return max(time.Duration(at-c.now)*time.Microsecond, 0)
}

// stopwatch counts since start, by the larger of monotonic and wall time: the monotonic clock stops
// while a machine is suspended.
type stopwatch struct{ start time.Time }

func (w stopwatch) elapsed(now time.Time) time.Duration {
	return max(now.Sub(w.start), now.Round(0).Sub(w.start.Round(0)))
}
