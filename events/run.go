package events

import (
	"context"
	_ "embed"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/script"
)

var (
	//go:embed register.lua
	registerSource string
	//go:embed member.lua
	memberSource string
	//go:embed acquire.lua
	acquireSource string

	registerScript = script.New(registerSource)
	memberScript   = script.New(memberSource)
	acquireScript  = script.New(acquireSource)
)

// durableRun is one Run of a subscriber of a durable bus. It owns this process' share of the
// group's partitions.
type durableRun struct {
	d             *Durable
	sub           *Subscriber
	member        string
	values        context.Context // values of the handlers' contexts
	woken         chan struct{}
	stop          context.CancelFunc
	done          chan struct{}
	lastHeartbeat time.Time // last successful heartbeat; only manage uses it
	registered    []bool    // by partition; only manage uses it
	pushes        sync.Map  // key on the server: its *partitionConsumer
	topics        *groupTopics
	unconfirmed   map[int]*partitionConsumer // by partition: the reply to its lease request was lost; only manage uses it

	mu        sync.Mutex
	free      int                 // slots that no queue has; negative if several polls started queues at once
	paused    bool                // the group is paused
	ready     fifo[*channelQueue] // queues that wait for a slot
	runnable  fifo[*channelQueue] // queues that wait for a worker
	workers   int
	consumers map[int]*partitionConsumer
}

// serve runs a subscriber until ctx ends.
func (d *Durable) serve(ctx context.Context, s *Subscriber) error {
	defer d.stats.remove(s)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	r := &durableRun{d: d, sub: s, member: newID(time.Now()), values: context.WithoutCancel(ctx), woken: make(chan struct{}, 1),
		stop: stop, done: make(chan struct{}), free: slotsPerWorker * s.opt.Concurrency,
		consumers: make(map[int]*partitionConsumer), unconfirmed: make(map[int]*partitionConsumer),
		lastHeartbeat: d.core.Time().Now(), registered: make([]bool, len(d.parts))}
	defer close(r.done)
	var err error
	if r.topics, err = newGroupTopics(r); err != nil {
		return err
	}
	if err := d.enter(r); err != nil {
		return err
	}
	defer d.leave(r)
	d.janitor.begin()
	untrack := d.core.Hub().Track(d.space.Prefix(), r)
	defer untrack()

	err = r.retry(ctx, func() error { return r.d.check(ctx) })
	if err == nil {
		err = r.retry(ctx, func() error { return r.topics.refresh(ctx) })
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	err = r.manage(ctx)
	r.drain(ctx)
	return err
}

func (d *Durable) enter(r *durableRun) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.runs == nil {
		if err := d.life.open(); err != nil { // Close of the bus began after Run
			return err
		}
		return fault.New(fault.ErrUnavailable, errors.New("the client is closed"), "")
	}
	for other := range d.runs {
		if other.sub.name == r.sub.name && other.topics.own.digest != r.topics.own.digest {
			return ErrTopics
		}
	}
	d.runs[r] = struct{}{}
	return nil
}

func (d *Durable) leave(r *durableRun) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.runs, r)
}

// stop ends the bus' subscribers, streams and outboxes in this process, and returns the runs of the
// subscribers.
func (d *Durable) stop() map[*durableRun]struct{} {
	d.mu.Lock()
	runs := d.runs
	if d.runs == nil {
		d.mu.Unlock()
		return nil
	}
	d.runs = nil
	close(d.closing)
	d.mu.Unlock()
	for r := range runs {
		r.stop()
	}
	return runs
}

// close ends the subscribers while calls still work: the client closes.
func (d *Durable) close(ctx context.Context) error {
	for r := range d.stop() {
		select {
		case <-r.done:
		case <-ctx.Done():
			return errors.New("events: a subscriber did not drain before the client closed; end Run's context first")
		}
	}
	if d.life.open() != nil { // Close of the bus has started
		return d.life.wait(ctx, d.name)
	}
	return nil
}

// Invalidate and Flush are pushes from the server: a partition has more to read. They must not
// wait.
func (r *durableRun) Invalidate(key string) {
	if x, ok := r.pushes.Load(key); ok {
		c := x.(*partitionConsumer)
		c.pushed.Store(true)
		c.wake()
	}
}

func (r *durableRun) Flush() {
	r.pushes.Range(func(_, x any) bool {
		x.(*partitionConsumer).pushed.Store(true)
		x.(*partitionConsumer).wake()
		return true
	})
}

// retry calls fn until it succeeds, ctx ends, or the error is one that waiting does not remove.
func (r *durableRun) retry(ctx context.Context, fn func() error) error {
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		err := fn()
		if err == nil || errors.Is(err, fault.ErrDenied) || errors.Is(err, ErrPartitions) {
			return err
		}
		r.logFailure("events: waiting for the server", -1, err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// manage keeps this process' share of the partitions until ctx ends.
func (r *durableRun) manage(ctx context.Context) error {
	every := min(r.d.opt.Lease/5, time.Second)
	timer := r.d.core.Time().NewTimer(0)
	defer timer.Stop()
	ready := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.woken:
		case <-timer.C:
		}
		if r.topics.stale() {
			if err := r.topics.refresh(ctx); err != nil {
				r.logFailure("events: the topics of the group are not stored", -1, err)
			}
		}
		registered := r.register(ctx)
		shared := r.share(ctx)
		switch err := errors.Join(registered, shared); {
		case ctx.Err() != nil:
			return nil
		case errors.Is(shared, ErrPartitions):
			return shared
		case errors.Is(registered, fault.ErrDenied) && !ready:
			return registered
		case err != nil && !unusable(err):
			r.logFailure("events: the group's partitions are not all shared out", -1, err)
		case !ready:
			ready = true
			close(r.sub.ready)
		}
		timer.Reset(every)
	}
}

// share compares the number of owned partitions with the fair share, and gives partitions back or
// takes them.
func (r *durableRun) share(ctx context.Context) error {
	members, paused, err := r.heartbeat(ctx, r.d.opt.Lease)
	switch {
	case err == nil:
		r.lastHeartbeat = r.d.core.Time().Now()
		if r.applyPause(paused) {
			return nil
		}
	case errors.Is(err, ErrPartitions) || r.d.core.Time().Since(r.lastHeartbeat) < r.d.opt.Lease || r.paused:
		return err
	default: // The server with the members is down. Free partitions of other servers are taken.
		return errors.Join(err, r.acquire(ctx, r.missing(0, 1), len(r.d.parts)))
	}
	rank := slices.Index(members, r.member)
	if rank < 0 {
		return nil
	}
	quota := len(r.d.parts) / len(members)
	if rank < len(r.d.parts)%len(members) {
		quota++
	}
	r.mu.Lock()
	owned, surplus := r.count(), []*partitionConsumer(nil)
	now := time.Now()
	for _, c := range r.consumers {
		if c.phase.serves() && c.canDrainSoon(now) {
			surplus = append(surplus, c)
		}
	}
	slices.SortFunc(surplus, func(a, b *partitionConsumer) int { return a.running - b.running }) // idle partitions first
	surplus = surplus[:min(len(surplus), max(owned-quota, 0))]
	for _, c := range surplus {
		c.to(draining)
		c.wake()
		time.AfterFunc(c.drainWait(), func() { r.resume(c) })
	}
	r.mu.Unlock()
	if owned < quota {
		return r.acquire(ctx, r.missing(rank, len(members)), quota-owned)
	}
	return nil
}

// missing returns the registered partitions that this process does not own. Each process starts at
// another one.
func (r *durableRun) missing(rank, members int) (all []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.d.parts {
		i := (i + rank*len(r.d.parts)/members) % len(r.d.parts)
		if r.consumers[i] == nil && r.registered[i] {
			all = append(all, i)
		}
	}
	return all
}

// A partition that passes to another process starts no handler, and waits until the running ones
// have finished. It waits four times the typical run time of its handlers, within these limits.
// Then it goes on, and a later heartbeat tries again.
const leastDrainWait, mostDrainWait = 100 * time.Millisecond, 5 * time.Second

func (c *partitionConsumer) drainWait() time.Duration {
	return min(max(4*c.typical, leastDrainWait), mostDrainWait)
}

// canDrainSoon reports whether the running handlers are likely to finish soon. One long handler
// must not stop the other channels.
func (c *partitionConsumer) canDrainSoon(now time.Time) bool {
	for _, q := range c.queues {
		if !q.startedAt.IsZero() && now.Sub(q.startedAt) > c.drainWait() {
			return false
		}
	}
	return true
}

// took notes the run time of a handler. typical follows the median: one long handler among many
// quick ones hardly changes it.
func (c *partitionConsumer) took(d time.Duration) {
	if d > c.typical {
		c.typical = max(c.typical*5/4, leastDrainWait/16)
	} else {
		c.typical = max(c.typical*4/5, d)
	}
}

// resume continues a partition whose handlers did not finish in time.
func (r *durableRun) resume(c *partitionConsumer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.paused {
		r.resumeLocked(c)
	}
}

func (r *durableRun) resumeLocked(c *partitionConsumer) {
	if c.phase != draining || c.running == 0 {
		return
	}
	c.to(reading)
	for _, q := range c.queues {
		c.makeRunnable(q)
		r.offer(q)
	}
	c.wake()
}

// count returns the number of owned partitions that do not drain.
func (r *durableRun) count() (n int) {
	for _, c := range r.consumers {
		if c.phase.serves() {
			n++
		}
	}
	return n
}

// heartbeat renews this process' membership for ttl, or ends it with 0. It returns the members and
// whether the group is paused.
func (r *durableRun) heartbeat(ctx context.Context, ttl time.Duration) (members []string, paused bool, err error) {
	msg, err := r.d.core.Eval(ctx, memberScript, []string{r.d.membersKey(r.sub.name), r.d.meta},
		[]string{r.member, millis(ttl), strconv.Itoa(len(r.d.parts)), r.sub.name})
	if err != nil {
		return nil, false, err
	}
	d := decode(msg, "members", 3)
	stored := d.text("partitions")
	members = d.texts("members")
	paused = d.text("a pause") != ""
	if d.err == nil && stored != strconv.Itoa(len(r.d.parts)) {
		return nil, false, r.d.otherPartitions(stored)
	}
	return members, paused, d.err
}
