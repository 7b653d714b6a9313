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

// durableRun is one Run of a subscriber of a durable bus: it owns its share of the group's partitions.
type durableRun struct {
	d          *Durable
	sub        *Subscriber
	member     string
	values     context.Context // of handlers
	kicked     chan struct{}
	stop       context.CancelFunc
	done       chan struct{}
	beaten     time.Time // when the members were last known; of manage alone
	registered []bool    // by partition; of manage alone
	pushes     sync.Map  // key on the server: its session
	topics     *groupTopics
	asked      map[int]*session // leases that may have been granted, by partition: the answer was lost; of manage alone

	mu       sync.Mutex
	free     int         // slots that no lane has
	paused   bool        // the group is paused
	ready    fifo[*lane] // waiting for a slot
	runnable fifo[*lane] // waiting for a worker
	workers  int
	sessions map[int]*session
}

// serve runs a subscriber until ctx ends.
func (d *Durable) serve(ctx context.Context, s *Subscriber) error {
	defer d.stats.remove(s)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	r := &durableRun{d: d, sub: s, member: newID(time.Now()), values: context.WithoutCancel(ctx), kicked: make(chan struct{}, 1),
		stop: stop, done: make(chan struct{}), free: ahead * s.opt.Concurrency, sessions: make(map[int]*session), asked: make(map[int]*session), beaten: time.Now(), registered: make([]bool, len(d.parts))}
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

// stop stops the bus' subscribers, streams and outboxes in this process, and returns the subscribers' runs.
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

// close stops what runs while calls still work: the client closes.
func (d *Durable) close(ctx context.Context) error {
	for r := range d.stop() {
		select {
		case <-r.done:
		case <-ctx.Done():
			return errors.New("events: a subscriber did not drain before the client closed; end Run's context first")
		}
	}
	if d.life.open() != nil { // Close of the bus has begun
		return d.life.wait(ctx, d.name)
	}
	return nil
}

// Invalidate and Flush are pushes from the server: a partition has more. They must not wait.
func (r *durableRun) Invalidate(key string) {
	if x, ok := r.pushes.Load(key); ok {
		x := x.(*session)
		x.pushed.Store(true)
		x.kick()
	}
}

func (r *durableRun) Flush() {
	r.pushes.Range(func(_, x any) bool {
		x.(*session).pushed.Store(true)
		x.(*session).kick()
		return true
	})
}

// retry calls fn until it succeeds, ctx ends, or an error says that waiting will not help.
func (r *durableRun) retry(ctx context.Context, fn func() error) error {
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		err := fn()
		if err == nil || errors.Is(err, fault.ErrDenied) || errors.Is(err, ErrPartitions) {
			return err
		}
		r.trouble("events: waiting for the server", -1, err)
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
	timer := time.NewTimer(0)
	defer timer.Stop()
	ready := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.kicked:
		case <-timer.C:
		}
		if r.topics.stale() {
			if err := r.topics.refresh(ctx); err != nil {
				r.trouble("events: the topics of the group are not stored", -1, err)
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
			r.trouble("events: the group's partitions are not all shared out", -1, err)
		case !ready:
			ready = true
			close(r.sub.ready)
		}
		timer.Reset(every)
	}
}

// share compares what this process owns with its fair part, and gives back or takes.
func (r *durableRun) share(ctx context.Context) error {
	members, paused, err := r.beat(ctx, r.d.opt.Lease)
	switch {
	case err == nil:
		r.beaten = time.Now()
		if r.obey(paused) {
			return nil
		}
	case errors.Is(err, ErrPartitions) || time.Since(r.beaten) < r.d.opt.Lease || r.paused:
		return err
	default: // The server that knows the members is down. The others have theirs, and what is free there is taken.
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
	owned, surplus := r.count(), []*session(nil)
	now := time.Now()
	for _, x := range r.sessions {
		if x.phase.serves() && x.yields(now) {
			surplus = append(surplus, x)
		}
	}
	slices.SortFunc(surplus, func(a, b *session) int { return a.running - b.running }) // the idle ones go
	surplus = surplus[:min(len(surplus), max(owned-quota, 0))]
	for _, x := range surplus {
		x.to(draining)
		x.kick()
		time.AfterFunc(x.patience(), func() { r.resume(x) })
	}
	r.mu.Unlock()
	if owned < quota {
		return r.acquire(ctx, r.missing(rank, len(members)), quota-owned)
	}
	return nil
}

// missing are the partitions that this process does not own and in which the group is registered, each process beginning elsewhere.
func (r *durableRun) missing(rank, members int) (all []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.d.parts {
		i := (i + rank*len(r.d.parts)/members) % len(r.d.parts)
		if r.sessions[i] == nil && r.registered[i] {
			all = append(all, i)
		}
	}
	return all
}

// A partition that is to be given to another process starts no handler until those that run have finished. It waits for
// four times as long as its handlers usually take, within these limits; then it goes on, and a later moment may do.
const leastPatience, mostPatience = 100 * time.Millisecond, 5 * time.Second

func (x *session) patience() time.Duration {
	return min(max(4*x.typical, leastPatience), mostPatience)
}

// yields reports whether the handlers that run now are likely to finish soon. One long handler must not stop the other channels.
func (x *session) yields(now time.Time) bool {
	for _, l := range x.lanes {
		if !l.since.IsZero() && now.Sub(l.since) > x.patience() {
			return false
		}
	}
	return true
}

// took notes how long a handler ran. typical follows the median: one long handler among many quick ones hardly moves it.
func (x *session) took(d time.Duration) {
	if d > x.typical {
		x.typical = max(x.typical*5/4, leastPatience/16)
	} else {
		x.typical = max(x.typical*4/5, d)
	}
}

// resume lets a partition go on whose handlers did not finish in time.
func (r *durableRun) resume(x *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.paused {
		r.resumeLocked(x)
	}
}

func (r *durableRun) resumeLocked(x *session) {
	if x.phase != draining || x.running == 0 {
		return
	}
	x.to(reading)
	for _, l := range x.lanes {
		x.start(l)
		r.offer(l)
	}
	x.kick()
}

// count is how many partitions are owned and stay so.
func (r *durableRun) count() (n int) {
	for _, x := range r.sessions {
		if x.phase.serves() {
			n++
		}
	}
	return n
}

// beat says that this process is there (or, with 0, that it leaves), and learns who else is, and whether the group is paused.
func (r *durableRun) beat(ctx context.Context, ttl time.Duration) (members []string, paused bool, err error) {
	msg, err := r.d.core.Eval(ctx, memberScript, []string{r.d.membersKey(r.sub.name), r.d.meta}, []string{r.member, millis(ttl), strconv.Itoa(len(r.d.parts)), r.sub.name})
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
