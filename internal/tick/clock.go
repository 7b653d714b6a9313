// Package tick is a coarse clock whose deadlines are shared.
//
// A timer per call costs allocations and a lock in the runtime; a call only needs
// "about now plus the command timeout". Calls that begin within one grain share one
// channel, which is closed when their deadline has passed.
package tick

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Grain is the resolution of the clock: a deadline fires at most two grains late.
const Grain = 5 * time.Millisecond

// shards spreads the waiters of one deadline over several channels, so that
// many cores do not meet on one channel's lock.
const shards = 8

// idle is how long the clock runs on without deadlines before it sleeps.
const idle = 200 * time.Millisecond

// Clock gives a coarse time and deadlines a fixed delay ahead.
type Clock struct {
	delay  time.Duration
	tick   func(now time.Duration) (busy bool)
	start  time.Time
	now    atomic.Int64 // since start, as of the last tick
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

// New starts a clock whose deadlines lie delay ahead. tick, if not nil, is called once
// per grain while the clock is awake; while it reports busy the clock does not sleep.
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

// Now is the time since the clock began, at most one grain old.
func (c *Clock) Now() time.Duration {
	if c.asleep.Load() {
		c.rouse()
	}
	return time.Duration(c.now.Load())
}

// Peek is Now for those who must not wake the clock: what happens on its own while no call is under way.
func (c *Clock) Peek() time.Duration {
	if c.asleep.Load() {
		return c.Exact()
	}
	return time.Duration(c.now.Load())
}

// Asleep reports whether the clock sleeps, because nothing is due.
func (c *Clock) Asleep() bool { return c.asleep.Load() }

// Exact is the time since the clock began, read anew: what Now is at most one grain behind.
func (c *Clock) Exact() time.Duration { return time.Since(c.start) }

// Deadline returns a channel that is closed delay from now, at most two grains late.
func (c *Clock) Deadline() <-chan struct{} {
	now := int64(c.Now())
	b := c.cur.Load()
	if b == nil || b.born != now {
		b = c.bucket(now)
	}
	return b.ch[rand.Uint32()%shards]
}

// At returns a channel that is closed when the clock has passed due, at most two grains late: a
// deadline that was taken earlier, for what is tried again within it.
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
		if c.closed || end <= c.now.Load() { // nobody would fire it, or it is over
			b.fire()
			return b.ch[0]
		}
		c.pending = slices.Insert(c.pending, i, b)
	}
	return c.pending[i].ch[rand.Uint32()%shards]
}

// Close stops the clock and closes every deadline that is still open.
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
	if c.closed { // nobody would fire it
		b.fire()
		return b
	}
	c.pending = append(c.pending, b)
	return b
}

func (c *Clock) rouse() {
	c.mu.Lock()
	defer c.mu.Unlock()
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
		if c.busy() { // it began while the clock was falling asleep, and may not have seen it
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

// fire closes what is due and reports whether deadlines are pending.
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
