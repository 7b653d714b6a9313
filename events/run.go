package events

import (
	"context"
	_ "embed"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/core"
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
	d      *Durable
	sub    *Subscriber
	member string
	values context.Context // of handlers
	kicked chan struct{}
	stop   context.CancelFunc
	done   chan struct{}
	pushes sync.Map         // key on the server: its session
	asked  map[int]*session // leases that may have been granted, by partition: the answer was lost; of manage alone

	mu       sync.Mutex
	free     int         // slots that no lane has
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
		stop: stop, done: make(chan struct{}), free: ahead * s.opt.Concurrency, sessions: make(map[int]*session), asked: make(map[int]*session)}
	defer close(r.done)
	if !d.enter(r) {
		return fault.New(fault.ErrUnavailable, errors.New("the client is closed"), "")
	}
	defer d.leave(r)
	untrack := d.core.Hub().Track(d.space.Prefix(), r)
	defer untrack()

	if err := r.register(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	err := r.manage(ctx)
	r.drain(ctx)
	return err
}

func (d *Durable) enter(r *durableRun) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.runs == nil {
		return false
	}
	d.runs[r] = struct{}{}
	return true
}

func (d *Durable) leave(r *durableRun) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.runs, r)
}

// close stops the bus' subscribers in this process while calls still work.
func (d *Durable) close(ctx context.Context) error {
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
	for r := range runs {
		select {
		case <-r.done:
		case <-ctx.Done():
			return errors.New("events: a subscriber did not drain before the client closed; end Run's context first")
		}
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
		r.d.core.Logger().Debug("events: waiting for the server", "bus", r.d.bus, "group", r.sub.name, "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// register makes the group known in every partition: from here on events are kept for it.
func (r *durableRun) register(ctx context.Context) error {
	if err := r.retry(ctx, func() error { return r.d.check(ctx) }); err != nil {
		return err
	}
	for i, p := range r.d.parts {
		keys := []string{r.d.groupKeys(p, r.sub.name).group, p.stream, p.groups}
		if err := r.retry(ctx, func() error {
			msg, err := r.d.core.Eval(ctx, registerScript, keys, []string{r.sub.name, r.sub.opt.Start.lastID()})
			if err != nil {
				return err
			}
			if n, _ := msg.AsInt64(); n == 2 {
				r.gap(Gap{Reason: GapReset, Partition: i})
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
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
		err := r.share(ctx)
		switch {
		case errors.Is(err, ErrPartitions):
			return err
		case err != nil && ctx.Err() == nil:
			r.d.core.Logger().Debug("events: the share of partitions was not looked at", "bus", r.d.bus, "group", r.sub.name, "error", err)
		case !ready && err == nil:
			ready = true
			close(r.sub.ready)
		}
		timer.Reset(every)
	}
}

// share compares what this process owns with its fair part, and gives back or takes.
func (r *durableRun) share(ctx context.Context) error {
	members, err := r.beat(ctx, r.d.opt.Lease)
	if err != nil {
		return err
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
	for _, x := range r.sessions {
		if !x.draining {
			surplus = append(surplus, x)
		}
	}
	slices.SortFunc(surplus, func(a, b *session) int { return a.running - b.running }) // the idle ones go
	surplus = surplus[:max(len(surplus)-quota, 0)]
	for _, x := range surplus {
		x.draining = true
		x.kick()
		time.AfterFunc(drainToShare, func() { r.resume(x) })
	}
	var others []int
	for i := range r.d.parts {
		i := (i + rank*len(r.d.parts)/len(members)) % len(r.d.parts)
		if r.sessions[i] == nil {
			others = append(others, i)
		}
	}
	r.mu.Unlock()
	if owned < quota {
		return r.acquire(ctx, others, quota-owned)
	}
	return nil
}

// drainToShare is how long a partition waits for its handlers to be given to another process; then it goes on, and
// another or a later moment may do.
const drainToShare = 5 * time.Second

func (r *durableRun) resume(x *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if x.over || x.final || !x.draining || x.running == 0 {
		return
	}
	x.draining = false
	for _, l := range x.lanes {
		x.start(l)
		r.offer(l)
	}
	x.kick()
}

// count is how many partitions are owned and stay so.
func (r *durableRun) count() (n int) {
	for _, x := range r.sessions {
		if !x.draining {
			n++
		}
	}
	return n
}

// beat says that this process is there (or, with 0, that it leaves), and learns who else is.
func (r *durableRun) beat(ctx context.Context, ttl time.Duration) ([]string, error) {
	keys := []string{r.d.space.Sibling("bus", "members:"+r.sub.name), r.d.meta}
	msg, err := r.d.core.Eval(ctx, memberScript, keys, []string{r.member, millis(ttl), strconv.Itoa(len(r.d.parts))})
	if err != nil {
		return nil, err
	}
	parts, err := msg.ToArray()
	if err != nil || len(parts) != 2 {
		return nil, unexpected("members", err)
	}
	if stored, _ := parts[0].ToString(); stored != strconv.Itoa(len(r.d.parts)) {
		return nil, r.d.otherPartitions(stored)
	}
	return parts[1].AsStrSlice()
}

// acquire takes up to n of the partitions that nobody owns.
func (r *durableRun) acquire(ctx context.Context, among []int, n int) error {
	for len(among) > 0 && n > 0 {
		some := among[:min(len(among), 256)]
		among = among[len(some):]
		b := r.d.core.B()
		gets := make([]rueidis.Completed, 0, len(some))
		for _, i := range some {
			gets = append(gets, b.Get().Key(r.d.groupKeys(r.d.parts[i], r.sub.name).lease).Build())
		}
		var free []*session
		for j, reply := range r.d.core.DoMulti(ctx, gets...) {
			msg, err := reply.Get()
			if err != nil {
				return err
			}
			x := r.asked[some[j]]
			holder, _ := msg.ToString()
			if len(free) == n || !msg.IsNil() && (x == nil || holder != x.token) {
				continue
			}
			if x == nil {
				x = r.session(some[j])
			}
			free = append(free, x)
		}
		calls := make([]core.Call, len(free))
		for j, x := range free {
			calls[j] = core.Call{Keys: []string{x.keys.lease, x.keys.group, x.p.stream, x.p.groups}, Args: []string{x.token, millis(r.d.opt.Lease), r.sub.name, "0"}}
		}
		if len(free) == 0 {
			continue
		}
		sent := time.Now()
		var lost error
		for j, reply := range r.d.core.EvalMulti(ctx, acquireScript, calls) {
			x := free[j]
			msg, err := reply.Get()
			if err == nil {
				err = r.d.reached("granted")
			}
			if err != nil { // it may have been granted all the same: the same token is granted it again
				r.asked[x.index], lost = x, err
				continue
			}
			delete(r.asked, x.index)
			if msg.IsNil() {
				continue
			}
			n--
			if err := r.own(x, msg, sent); err != nil {
				return err
			}
		}
		if lost != nil {
			return lost
		}
	}
	return nil
}
