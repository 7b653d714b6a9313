// Package tick is a coarse clock whose deadlines are shared.
//
// A timer for each call costs allocations and a lock in the runtime. A call needs only an
// approximate deadline. So calls that begin within one grain share one channel, which is closed
// after their deadline.
package tick

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Grain is the resolution of the clock. A deadline fires at most two grains late.
const Grain = 5 * time.Millisecond

// shards is the number of channels of one deadline. With several channels, cores do not wait for
// the lock of one.
const shards = 8

// idle is how long the clock runs without deadlines before it sleeps. It is short, so that a clock
// with a call every 100 ms sleeps most of the time.
const idle = 4 * Grain

// Clock gives a coarse time, and deadlines after a fixed delay.
type Clock struct {
	delay  time.Duration
	tick   func(now time.Duration) (busy bool)
	start  time.Time
	now    atomic.Int64 // time since start, at the last tick
	asleep atomic.Bool
	cur    atomic.Pointer[bucket]
	wake   chan struct{}
	stop   chan struct{}
	done   chan struct{}

	mu      sync.Mutex
	pending []*bucket // ordered by deadline
	closed  bool
}

type bucket struct {
	born int64
	due  int64
	ch   [shards]chan struct{}
}

// New starts a clock whose deadlines are delay from now. tick, if not nil, is called once per grain
// while the clock is awake. The clock does not sleep while tick reports busy.
func New(delay time.Duration, tick func(now time.Duration) (busy bool)) *Clock {
	c := &Clock{
		delay: delay,
		tick:  tick,
		start: time.Now(),
		wake:  make(chan struct{}, 1),
		stop:  make(chan struct{}),
		done:  make(chan struct{}),
	}
	go c.run()
	return c
}

// Now returns the time since the start of the clock. It is at most one grain old.
func (c *Clock) Now() time.Duration {
	c.Wake()
	return time.Duration(c.now.Load())
}

// Wake wakes the clock. It is called after new work is visible to the tick function, because the
// clock may have fallen asleep since the work began.
func (c *Clock) Wake() {
	if c.asleep.Load() {
		c.rouse()
	}
}

// Peek is like [Clock.Now], but does not wake the clock. It is for work that happens without a
// call.
func (c *Clock) Peek() time.Duration {
	if c.asleep.Load() {
		return c.Exact()
	}
	return time.Duration(c.now.Load())
}

// Asleep reports whether the clock sleeps because no deadline is pending.
func (c *Clock) Asleep() bool { return c.asleep.Load() }

// Exact returns the exact time since the start of the clock.
func (c *Clock) Exact() time.Duration { return time.Since(c.start) }

// Deadline returns a channel that is closed after the delay, at most two grains late.
func (c *Clock) Deadline() <-chan struct{} {
	now := int64(c.Now())
	b := c.cur.Load()
	if b == nil || b.born != now {
		b = c.bucket(now)
	}
	return b.ch[rand.Uint32()%shards]
}

// At returns a channel that is closed at due, at most two grains late. due was computed earlier,
// for all tries of one call.
func (c *Clock) At(due time.Duration) <-chan struct{} {
	if now := c.Now(); due >= now+c.delay {
		return c.Deadline()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	end := int64(due + Grain)
	i, found := slices.BinarySearchFunc(c.pending, end, func(b *bucket, end int64) int { return cmp.Compare(b.due, end) })
	if !found {
		b := newBucket(end-int64(c.delay+Grain), end)
		if c.closed || end <= c.now.Load() { // the clock is stopped, or due has passed
			b.fire()
			return b.ch[0]
		}
		c.pending = slices.Insert(c.pending, i, b)
		c.rouseLocked() // it may have fallen asleep since Now
	}
	return c.pending[i].ch[rand.Uint32()%shards]
}

// Close stops the clock and closes every pending deadline.
func (c *Clock) Close() {
	close(c.stop)
	<-c.done
}

func (c *Clock) bucket(now int64) *bucket {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b := c.cur.Load(); b != nil && b.born >= now {
		return b
	}
	b := newBucket(now, now+int64(c.delay)+int64(Grain))
	c.cur.Store(b)
	if c.closed { // the clock does not fire it any more
		b.fire()
		return b
	}
	c.pending = append(c.pending, b)
	c.rouseLocked() // it may have fallen asleep since now
	return b
}

func (c *Clock) rouse() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rouseLocked()
}

func (c *Clock) rouseLocked() {
	if c.asleep.Load() {
		c.now.Store(int64(time.Since(c.start)))
		c.asleep.Store(false)
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

func (c *Clock) run() {
	defer close(c.done)
	ticker := time.NewTicker(Grain)
	defer ticker.Stop()
	last := c.start
	for {
		select {
		case <-c.stop:
			c.shut()
			return
		case <-ticker.C:
		}
		now := time.Now()
		c.now.Store(int64(now.Sub(c.start)))
		pending, busy := c.fire(int64(now.Sub(c.start))), c.busy()
		if pending || busy {
			last = now
			continue
		}
		if now.Sub(last) < idle {
			continue
		}
		c.mu.Lock()
		quiet := len(c.pending) == 0
		c.asleep.Store(quiet)
		c.mu.Unlock()
		if !quiet {
			continue
		}
		if c.busy() { // a call began before the clock was asleep, and may not have seen it
			c.rouse()
		}
		ticker.Stop()
		select {
		case <-c.stop:
			c.shut()
			return
		case <-c.wake:
		}
		ticker.Reset(Grain)
		last = time.Now()
	}
}

// fire closes the deadlines that have passed. It reports whether others are pending.
func (c *Clock) fire(now int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for n < len(c.pending) && c.pending[n].due <= now {
		c.pending[n].fire()
		c.pending[n] = nil
		n++
	}
	c.pending = append(c.pending[:0], c.pending[n:]...)
	return len(c.pending) > 0
}

func (c *Clock) busy() bool {
	return c.tick != nil && c.tick(time.Duration(c.now.Load()))
}

func (c *Clock) shut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, b := range c.pending {
		b.fire()
	}
	c.pending = nil
}

func newBucket(born, due int64) *bucket {
	b := &bucket{born: born, due: due}
	for i := range b.ch {
		b.ch[i] = make(chan struct{})
	}
	return b
}

func (b *bucket) fire() {
	for _, ch := range b.ch {
		close(ch)
	}
}
