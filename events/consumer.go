package events

import (
	"context"
	_ "embed"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/internal/clock"
	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/script"
)

var (
	//go:embed bodies.lua
	bodiesSource string
	//go:embed poll.lua
	pollSource string
	//go:embed recover.lua
	recoverSource string

	pollScript    = script.New(script.UndeclaredKeys + bodiesSource + delayedSource + pollSource)
	recoverScript = script.New(script.UndeclaredKeys + bodiesSource + recoverSource)
)

const (
	envelopeField = "e1"
	unknownDelay  = 30 * time.Second // before an event of an unknown format is tried again

	leastHeld = 512 // events of one partition in this process, or countAhead for each worker if that is more
	maxRead   = 128
	heldBytes = 8 << 20  // bodies of one partition in this process, without one body per running handler
	maxWeight = 32 << 20 // bodies of the held events of one partition, in this process or on the server

	pollFirst, pollMost = 5 * time.Millisecond, 100 * time.Millisecond // without pushes
	retryFirst          = 20 * time.Millisecond
	retryMost           = 500 * time.Millisecond
)

// partitionConsumer is the ownership of one partition, from the grant of its lease to its end. Only
// its loop talks to the server and changes what a reply changes. The run's lock guards the fields
// below.
type partitionConsumer struct {
	d     *Durable
	run   *durableRun
	p     *partition
	index int
	keys  groupKeys
	token string
	fence int64

	ctx      context.Context // context of the handlers
	cancel   context.CancelCauseFunc
	watchdog *clock.Timer // ends ctx with the lease, even while the loop waits for a reply
	woken    chan struct{}
	ended    chan struct{}

	polls     int64 // polls that were sent; only the loop uses it
	answered  int64 // number of the last poll that was answered; only the loop uses it
	queues    map[string]*channelQueue
	toStart   []*channelQueue
	toPark    []*channelQueue
	outcomes  outcomes
	handedOut map[*channelQueue]bool // queues whose channels have a parked list that is handed out to this owner
	held      int                    // events in this process
	bytes     int                    // bodies of the held events in this process
	weight    int                    // bodies of the held events, in this process or on the server
	running   int
	typical   time.Duration // typical run time of a handler
	phase     phase
	until     deadline
	expired   bool // the handlers' context has ended with the lease

	tip          string    // last id that was read
	due          time.Time // next due time, by this process' clock
	dueMS        float64   // the same by the server's clock, ms
	trimmed      time.Time
	acked        int
	size         int   // recent size of an event, bytes
	readSkipped  bool  // the last poll had no room to read
	unreadEvents int64 // unread events
	dead         int64
	delayed      int64
	waiting      int64          // parked events
	stamp        string         // stamp of the last version of the group that registered
	oldest       time.Time      // publication of the oldest waiting or pending event, by this process' clock
	unknown      []unknownEntry // to log without the lock
	fault        string         // error of the stream, to log without the lock
	crowding     bool           // queues may soon have to give events back; only the loop uses it
	stalled      bool           // a worker stopped at the end of the lease

	pushed atomic.Bool // the server has pushed: there may be more to read
}

func (c *partitionConsumer) wake() {
	select {
	case c.woken <- struct{}{}:
	default:
	}
}

// loop polls until the partition is given back or lost.
func (c *partitionConsumer) loop(ctx context.Context) {
	defer close(c.ended)
	defer c.run.ended(c)
	renew := c.d.opt.Lease / 4
	timer := c.d.core.Time().NewTimer(0)
	defer timer.Stop()
	poll := pollFirst
	if !c.recover(ctx, true) {
		c.lose()
		return
	}
	for {
		if c.lapsed() {
			c.lose()
			return
		}
		if c.pushed.Swap(false) {
			c.unread()
		}
		p, finish := c.plan()
		c.report()
		if p != nil {
			began := c.d.core.Time().Now()
			if !c.perform(ctx, p) {
				c.lose()
				return
			}
			if finish {
				c.finish()
				return
			}
			c.housekeeping(ctx, began)
			poll = pollFirst
			continue
		}
		again, err := c.arm(ctx)
		if again {
			continue
		}
		wait := renew
		if err != nil || !c.d.core.Capabilities().Tracking {
			wait = min(poll, renew)
			poll = min(2*poll, pollMost)
		}
		timer.Reset(c.waitTime(wait))
		select {
		case <-c.woken:
			poll = pollFirst
		case <-timer.C:
			if !c.crowding {
				c.reread()
			}
		case <-ctx.Done():
			c.lose() // the client was closed without a drain
			return
		}
	}
}

// maxHeld is the maximum of held events of the partition.
func (c *partitionConsumer) maxHeld() int {
	return max(leastHeld, countAhead*c.run.sub.opt.Concurrency)
}

// room is the maximum of bytes of bodies in the next reply.
func (c *partitionConsumer) room() int {
	c.run.mu.Lock()
	defer c.run.mu.Unlock()
	return c.within(replyBytes)
}

// full reports whether the consumer holds its maximum. With idle workers, it takes up to two events
// per worker regardless of their size.
func (c *partitionConsumer) full() bool {
	return c.held >= c.maxHeld() || c.weight >= maxWeight && c.held >= 2*c.run.sub.opt.Concurrency
}

// plan returns the next poll, or nil if there is nothing to write and nothing to read. finish means
// that the poll gives the partition back.
func (c *partitionConsumer) plan() (p *poll, finish bool) {
	c.run.mu.Lock()
	defer c.run.mu.Unlock()
	defer c.checked()
	c.crowding = false
	renew := c.d.core.Time().Until(c.until.at) <= c.d.opt.Lease/2
	switch c.phase {
	case resetting:
		c.cancel(ErrLost)
		if c.running > 0 {
			return nil, false
		}
		return c.gather(0, true), true
	case draining, stopping:
		finish = c.running == 0 && len(c.toPark) == 0 && c.outcomes.fit()
		if finish || !c.outcomes.empty() || len(c.toPark) > 0 || renew {
			return c.gather(0, finish), finish
		}
		return nil, false
	}
	count := 0
	if (c.phase == reading || c.phase == checking) && !c.full() { // a full consumer polls again when a handler has finished
		count = min(maxRead, c.maxHeld()-c.held)
	}
	if count == 0 && c.outcomes.empty() && len(c.toStart) == 0 && len(c.toPark) == 0 && !c.needsMore() && !c.overflows() {
		if !renew {
			return nil, false
		}
	}
	return c.gather(count, false), false
}

// overflows reports whether queues give events back to the server. It sets crowding if a queue may
// do so soon, so that the loop looks again.
func (c *partitionConsumer) overflows() bool {
	all, soon := c.overflowing()
	c.crowding = soon
	return len(all) > 0
}

// perform sends a poll until the server has answered or the lease has ended.
func (c *partitionConsumer) perform(ctx context.Context, p *poll) bool {
	keys := []string{c.p.stream, c.keys.lease, c.keys.retry, c.keys.tries, c.p.delayed, c.keys.dead, c.keys.parked,
		c.keys.inbox, c.p.cut, c.keys.group, c.keys.heads, c.p.later}
	wait := retryFirst
	for uncertain := false; ; uncertain = true {
		c.polls++
		p.number, p.answered = c.polls, c.answered
		c.d.points.Hold("polling", c.p.tag)
		sent := c.d.core.Time().Now()
		msg, err := c.eval(ctx, pollScript, keys, p.encode())
		if err == nil {
			err = c.d.points.Fail("polled", c.p.tag)
		}
		if err == nil {
			if msg.IsNil() {
				return false
			}
			if !msg.IsArray() { // else ToString makes an error for each poll
				if text, _ := msg.ToString(); text == behind {
					c.giveUp()
					return !p.release
				}
			}
			if !c.renewed(sent) {
				return false
			}
			if err = c.apply(p, msg); err != nil {
				c.d.core.Logger().Error("events: malformed poll reply", "bus", c.d.bus, "group", c.run.sub.name, "error", err)
				return false
			}
			c.answered = p.number
			return !uncertain || c.recover(ctx, false)
		}
		if c.lapsed() || ctx.Err() != nil {
			return false
		}
		c.logFailure("events: a poll failed", err)
		p.readNothing()
		if !c.pause(ctx, wait) {
			return false
		}
		wait = min(2*wait, retryMost)
	}
}

// logFailure logs an error: as a warning, or as a debug line during an outage, because the client
// logs outages.
func (c *partitionConsumer) logFailure(message string, err error) {
	level := slog.LevelWarn
	if errors.Is(err, fault.ErrUnavailable) || errors.Is(err, fault.ErrIndeterminate) {
		level = slog.LevelDebug
	}
	c.d.core.Logger().Log(c.ctx, level, message, "bus", c.d.bus, "group", c.run.sub.name, "partition", c.index, "error", err)
}

func (c *partitionConsumer) pause(ctx context.Context, wait time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-c.d.core.Time().After(min(wait, c.left())):
		return !c.lapsed()
	}
}

// eval runs a script. It gives up at the end of the lease.
func (c *partitionConsumer) eval(ctx context.Context, s *script.Script, keys, args []string) (core.Reply, error) {
	ctx, cancel := c.withinLease(ctx)
	defer cancel()
	return c.d.core.Eval(ctx, s, keys, args)
}

// housekeeping trims the stream, cuts parked events and measures the group: after trimEvery
// acknowledgements, 2 s after the last one, or every 30 s.
func (c *partitionConsumer) housekeeping(ctx context.Context, now time.Time) {
	if c.trimmed.IsZero() { // the last owner may have left parked events
		c.trimmed = now
		c.run.measure(ctx, c)
		return
	}
	idle := now.Sub(c.trimmed)
	if c.acked < trimEvery && (c.acked == 0 || idle < 2*time.Second) && idle < 30*time.Second {
		return
	}
	c.trimmed, c.acked = now, 0
	c.d.trimSoon(c.p)
	c.cutParked(ctx)
	c.run.measure(ctx, c)
}

// lose ends the handlers: another process may own the partition.
func (c *partitionConsumer) lose() {
	c.cancel(ErrLost)
	c.run.mu.Lock()
	defer c.run.mu.Unlock()
	if c.phase != over {
		c.run.sub.stats.lost.Add(1)
		c.close()
	}
}

// finish ends a consumer whose partition was given back.
func (c *partitionConsumer) finish() {
	c.cancel(ErrLost)
	c.run.mu.Lock()
	defer c.run.mu.Unlock()
	if c.phase != over {
		c.close()
	}
}

func (c *partitionConsumer) close() {
	c.to(over)
	for _, q := range c.queues {
		c.drop(q)
	}
	c.toStart, c.toPark = nil, nil
}
