package events

import (
	"context"
	_ "embed"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/script"
)

var (
	//go:embed bodies.lua
	bodiesSource string
	//go:embed step.lua
	stepSource string
	//go:embed recover.lua
	recoverSource string

	stepScript    = script.New(bodiesSource + delayedSource + stepSource)
	recoverScript = script.New(bodiesSource + recoverSource)
)

const (
	envelopeField = "e1"
	unknownDelay  = 30 * time.Second // until an event of a format that we don't know is looked at again

	leastHeld = 512 // events of one partition in this process, or window for each worker
	maxRead   = 128
	heldBytes = 8 << 20  // of bodies of one partition in this process, not counting one body per running handler
	maxWeight = 32 << 20 // of bodies of held events of one partition, here or on the server: more is not read

	pollFirst, pollMost = 5 * time.Millisecond, 100 * time.Millisecond // without pushes
	retryFirst          = 20 * time.Millisecond
	retryMost           = 500 * time.Millisecond
)

// session is one ownership of a partition. Its loop alone talks to the server; what the fields below hold
// is under the run's lock.
type session struct {
	d     *Durable
	run   *durableRun
	p     *partition
	index int
	keys  groupKeys
	token string
	fence int64

	ctx      context.Context // of the handlers
	cancel   context.CancelCauseFunc
	watchdog *time.Timer // ends ctx with the lease, whatever the loop waits for
	kicked   chan struct{}
	ended    chan struct{}

	turns    int64 // sent; of the loop alone
	lanes    map[string]*lane
	toBegin  []*lane
	toPark   []*lane
	outcomes outcomes
	remote   map[*lane]bool // lanes whose channels have a parked list that is handed out to this owner
	held     int            // events
	bytes    int            // of their bodies in this process
	weight   int            // bytes of their bodies, those that are still on the server included
	running  int
	typical  time.Duration // that a handler takes
	phase    phase
	until    deadline
	expired  bool // the handlers' context has ended with the lease

	tip      string    // the last id that was read
	due      time.Time // when something becomes due, on our clock
	dueMS    float64   // and on the server's
	trimmed  time.Time
	acked    int
	size     int   // of an event, about
	starved  bool  // the last turn had no room to read
	lagged   int64 // unread events
	dead     int64
	delayed  int64
	waiting  int64          // events in the parked lists
	stamp    string         // of the last version of the group that registered
	oldest   time.Time      // when the oldest event that waits or is pending was published, on our clock
	unknown  []unknownEntry // to be logged without the lock
	fault    string         // of the stream, to be logged
	crowding bool           // lanes may soon have to give events back; of the loop alone
	stalled  bool           // a worker stopped because the lease was about to end

	pushed atomic.Bool // the server says that there may be more
}

func (x *session) kick() {
	select {
	case x.kicked <- struct{}{}:
	default:
	}
}

// loop owns the partition until it is given back or lost.
func (x *session) loop(ctx context.Context) {
	defer close(x.ended)
	defer x.run.gone(x)
	renew := x.d.opt.Lease / 4
	timer := time.NewTimer(0)
	defer timer.Stop()
	poll := pollFirst
	if !x.recover(ctx, true) {
		x.lose()
		return
	}
	for {
		if x.lapsed() {
			x.lose()
			return
		}
		if x.pushed.Swap(false) {
			x.unread()
		}
		t, finish := x.plan()
		x.report()
		if t != nil {
			began := time.Now()
			if !x.take(ctx, t) {
				x.lose()
				return
			}
			if finish {
				x.finish()
				return
			}
			x.housekeeping(ctx, began)
			poll = pollFirst
			continue
		}
		again, err := x.arm(ctx)
		if again {
			continue
		}
		wait := renew
		if err != nil || !x.d.core.Capabilities().Tracking {
			wait = min(poll, renew)
			poll = min(2*poll, pollMost)
		}
		timer.Reset(x.patient(wait))
		select {
		case <-x.kicked:
			poll = pollFirst
		case <-timer.C:
			if !x.crowding {
				x.reread()
			}
		case <-ctx.Done():
			x.lose() // the client is closed, and nobody stopped us before
			return
		}
	}
}

// patient is how long the loop may wait: until something is due that could be read, or until a long channel may have to overflow.
func (x *session) patient(wait time.Duration) time.Duration {
	x.run.mu.Lock()
	defer x.run.mu.Unlock()
	if x.crowding {
		wait = min(wait, overflowAfter)
	}
	if !x.due.IsZero() && x.phase.serves() && !x.full() {
		wait = min(wait, max(time.Until(x.due), 0))
	}
	return wait
}

// reread has the next turn read. The server's push stays armed: a turn that finds nothing new does not set it off.
func (x *session) reread() {
	x.run.mu.Lock()
	defer x.run.mu.Unlock()
	switch x.phase {
	case caughtUp:
		x.to(reading)
	case armed:
		x.to(checking)
	}
}

// unread has the next turn read, after a push or where none can come.
func (x *session) unread() {
	x.run.mu.Lock()
	defer x.run.mu.Unlock()
	if x.phase.serves() {
		x.to(reading)
	}
}

// maxHeld is how many events of the partition may be in this process.
func (x *session) maxHeld() int { return max(leastHeld, window*x.run.sub.opt.Concurrency) }

// room is how many bytes of bodies the next reply may have.
func (x *session) room() int {
	x.run.mu.Lock()
	defer x.run.mu.Unlock()
	return x.within(replyBytes)
}

// full reports whether as much is held as may be. A subscriber with idle workers takes a few events more, however large they are.
func (x *session) full() bool {
	return x.held >= x.maxHeld() || x.weight >= maxWeight && x.held >= 2*x.run.sub.opt.Concurrency
}

// plan returns the next turn, or nil when there is nothing to say and nothing to read.
func (x *session) plan() (t *turn, finish bool) {
	x.run.mu.Lock()
	defer x.run.mu.Unlock()
	defer x.checked()
	x.crowding = false
	renew := time.Until(x.until.at) <= x.d.opt.Lease/2
	switch x.phase {
	case resetting:
		x.cancel(ErrLost)
		return x.gather(0, true), true
	case draining, stopping:
		finish = x.running == 0 && len(x.toPark) == 0 && x.outcomes.fit()
		if finish || !x.outcomes.empty() || len(x.toPark) > 0 || renew {
			return x.gather(0, finish), finish
		}
		return nil, false
	}
	count := 0
	if (x.phase == reading || x.phase == checking) && !x.full() { // else there is another turn as soon as something is done
		count = min(maxRead, x.maxHeld()-x.held)
	}
	if count == 0 && x.outcomes.empty() && len(x.toBegin) == 0 && len(x.toPark) == 0 && !x.hungry() && !x.overflows() {
		if !renew {
			return nil, false
		}
	}
	return x.gather(count, false), false
}

// overflows reports whether lanes give events back. It notes whether some may soon, so that the loop looks again.
func (x *session) overflows() bool {
	all, soon := x.overflowing()
	x.crowding = soon
	return len(all) > 0
}

// take makes a turn, again and again until the server has answered or the lease is over.
func (x *session) take(ctx context.Context, t *turn) bool {
	keys := []string{x.p.stream, x.keys.lease, x.keys.retry, x.keys.tries, x.p.delayed, x.keys.dead, x.keys.parked, x.keys.inbox, x.p.cut, x.keys.group, x.keys.heads, x.p.later}
	wait := retryFirst
	for uncertain := false; ; uncertain = true {
		x.turns++
		t.number = x.turns
		x.d.points.Hold("polling", x.p.tag)
		sent := time.Now()
		msg, err := x.eval(ctx, stepScript, keys, t.encode())
		if err == nil {
			if msg.IsNil() {
				return false
			}
			if !x.renewed(sent) {
				return false
			}
			if err = x.apply(t, msg); err != nil {
				x.d.core.Logger().Error("events: a turn's answer can't be read", "bus", x.d.bus, "group", x.run.sub.name, "error", err)
				return false
			}
			return !uncertain || x.recover(ctx, false)
		}
		if x.lapsed() || ctx.Err() != nil {
			return false
		}
		x.complain("a turn failed", err)
		t.readNothing()
		if !x.pause(ctx, wait) {
			return false
		}
		wait = min(2*wait, retryMost)
	}
}

// complain logs what an outage does not explain.
func (x *session) complain(what string, err error) {
	level := slog.LevelWarn
	if errors.Is(err, fault.ErrUnavailable) || errors.Is(err, fault.ErrIndeterminate) {
		level = slog.LevelDebug
	}
	x.d.core.Logger().Log(x.ctx, level, "events: "+what, "bus", x.d.bus, "group", x.run.sub.name, "partition", x.index, "error", err)
}

func (x *session) pause(ctx context.Context, wait time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(min(wait, max(time.Until(x.until.at), 0))):
		return !x.lapsed()
	}
}

// eval asks the server, but not beyond the end of the lease.
func (x *session) eval(ctx context.Context, s *script.Script, keys, args []string) (core.Reply, error) {
	ctx, cancel := context.WithDeadline(ctx, x.until.at)
	defer cancel()
	return x.d.core.Eval(ctx, s, keys, args)
}

// arm has the server push when there is more to read or a due time has changed. It looks again in the same
// breath, so that nothing that came in between is missed: again says that something did.
func (x *session) arm(ctx context.Context) (again bool, err error) {
	x.run.mu.Lock()
	todo := x.phase == caughtUp && x.tip != ""
	x.run.mu.Unlock()
	if !todo {
		return false, nil
	}
	if err := x.d.points.Fail("arming", ""); err != nil {
		return false, err
	}
	ctx, cancel := context.WithDeadline(ctx, x.until.at)
	defer cancel()
	replies := x.d.core.DoMultiTracked(ctx,
		core.ReadAt(x.p.stream, "XREAD", "COUNT", "1", "STREAMS", x.p.stream, x.tip),
		core.Read("ZRANGE", x.p.delayed, "0", "0", "WITHSCORES"),
		core.Read("ZRANGE", x.keys.retry, "0", "0", "WITHSCORES"))
	first, err := replies[0].Get()
	if err != nil {
		return false, err
	}
	again = !first.IsNil()
	for _, r := range replies[1:] {
		msg, err := r.Get()
		if err != nil {
			return false, err
		}
		if scores, _ := msg.AsZScores(); len(scores) > 0 && scores[0].Score < taken {
			again = again || x.due.IsZero() || scores[0].Score < x.dueMS
		}
	}
	x.run.mu.Lock()
	switch {
	case x.phase != caughtUp: // it drains
	case again:
		x.to(reading)
	default:
		x.to(armed)
	}
	x.run.mu.Unlock()
	return again, x.d.points.Fail("armed", "")
}

// housekeeping trims the stream now and then, and looks how far behind the group is.
func (x *session) housekeeping(ctx context.Context, now time.Time) {
	if x.trimmed.IsZero() { // what the last owner left waits here
		x.trimmed = now
		x.run.measure(ctx, x)
		return
	}
	idle := now.Sub(x.trimmed)
	if x.acked < trimEvery && (x.acked == 0 || idle < 2*time.Second) && idle < 30*time.Second {
		return
	}
	x.trimmed, x.acked = now, 0
	x.d.trimSoon(x.p)
	x.cutParked(ctx)
	x.run.measure(ctx, x)
}

// lose ends what runs here: somebody else may own the partition.
func (x *session) lose() {
	x.cancel(ErrLost)
	x.run.mu.Lock()
	defer x.run.mu.Unlock()
	if x.phase != over {
		x.run.sub.stats.lost.Add(1)
		x.close()
	}
}

// finish ends a session whose partition was given back.
func (x *session) finish() {
	x.cancel(ErrLost)
	x.run.mu.Lock()
	defer x.run.mu.Unlock()
	if x.phase != over {
		x.close()
	}
}

func (x *session) close() {
	x.to(over)
	for _, l := range x.lanes {
		x.drop(l)
	}
	x.toBegin, x.toPark = nil, nil
}
