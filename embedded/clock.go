package embedded

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// clock moves the engine's time.
//
// By itself the engine's TTLs stand still. It offers two ways to move them:
// FastForward, which leaves TIME alone, so that a key set between the two would
// expire early by the difference; and ClockTTL, which ties TTLs to the engine's
// clock but walks over all sorted keys whenever the clock has moved, which is with
// every command if the clock is real (6 ms per GET with 10,000 keys). Here the
// engine's clock is a set one, which moves in steps: TIME and TTLs move together
// under the engine's lock, and the walk happens once per step.
//
// A step is taken by the first command that finds the last one old enough. So an
// idle server does nothing, and no goroutine has to be owned.
type clock struct {
	engine *miniredis.Miniredis
	watch  stopwatch
	step   atomic.Int64 // wait at least this long between two steps
	last   atomic.Int64 // the stopwatch at the last step

	mu    sync.Mutex    // one step at a time; held while taking the engine's lock
	ahead time.Duration // by Advance
	costs [8]time.Duration
	taken int // steps
}

const (
	// A step costs at most 1/16 of the time.
	share   = 16
	maxStep = 250 * time.Millisecond
)

func newClock(engine *miniredis.Miniredis) *clock {
	c := &clock{engine: engine, watch: stopwatch{start: time.Now()}}
	engine.SetTime(c.watch.start.UTC())
	engine.ClockTTL(true)
	return c
}

// tick is called before every command that does not run inside a script: there
// the engine's lock is held, and time stands still as it does in Redis.
func (c *clock) tick() {
	now := c.watch.elapsed(time.Now())
	if int64(now)-c.last.Load() < c.step.Load() {
		return
	}
	if !c.mu.TryLock() {
		return // another command takes this step
	}
	defer c.mu.Unlock()
	c.move(now)
}

// jump is Advance.
func (c *clock) jump(d time.Duration) {
	if d <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
	c.move(c.watch.elapsed(time.Now()))
}

// move sets the engine's time and makes it expire what has ended by then. Now may
// be older than last if the wall clock was stepped; then only Advance counts.
func (c *clock) move(now time.Duration) {
	now = max(now, time.Duration(c.last.Load()))
	c.last.Store(int64(now))
	c.engine.SetTime(c.watch.start.Add(now + c.ahead).UTC())

	walk := time.Now()
	c.engine.DB(0) // looking at any database makes the engine catch up
	c.costs[c.taken%len(c.costs)] = time.Since(walk)
	c.taken++
	// The least of the last few: the others waited for the engine's lock or for a
	// processor.
	cost := c.costs[0]
	for _, other := range c.costs[:min(c.taken, len(c.costs))] {
		cost = min(cost, other)
	}
	c.step.Store(int64(min(share*cost, maxStep)))
}

// stopwatch counts since start, by the larger of monotonic and wall time: the
// monotonic clock stops while a machine is suspended.
type stopwatch struct{ start time.Time }

func (w stopwatch) elapsed(now time.Time) time.Duration {
	return max(now.Sub(w.start), now.Round(0).Sub(w.start.Round(0)))
}
