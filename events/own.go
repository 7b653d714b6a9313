package events

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/core"
)

func (r *durableRun) session(i int) *session {
	p := r.d.parts[i]
	return &session{d: r.d, run: r, p: p, index: i, keys: r.d.groupKeys(p, r.sub.name), token: r.member + "-" + newID(time.Now()),
		kicked: make(chan struct{}, 1), ended: make(chan struct{}), lanes: make(map[string]*lane), remote: make(map[*lane]bool), trimmed: time.Now()}
}

// own starts a session whose lease was granted.
func (r *durableRun) own(x *session, granted core.Reply, sent time.Time) error {
	parts, err := granted.ToArray()
	if err != nil || len(parts) != 2 {
		return unexpected("a lease", err)
	}
	fence, _ := parts[0].ToString()
	if x.fence, err = strconv.ParseInt(fence, 10, 64); err != nil {
		return unexpected("a fence", err)
	}
	if made, _ := parts[1].AsInt64(); made == 1 {
		r.gap(Gap{Reason: GapReset, Partition: x.index})
	}
	x.ctx, x.cancel = context.WithCancelCause(r.values)
	x.watchdog = time.AfterFunc(r.d.opt.Lease, x.expire)
	x.renewed(sent)
	r.mu.Lock()
	r.sessions[x.index] = x
	r.sub.stats.owned.Store(int64(len(r.sessions)))
	r.mu.Unlock()
	for _, key := range []string{x.p.stream, x.p.delayed, x.keys.retry} {
		r.pushes.Store(key, x)
	}
	if !r.d.core.Group().Go("owner of an event partition", x.loop) {
		r.gone(x)
		close(x.ended)
	}
	return nil
}

// gone forgets a session that has ended, and looks at the share again.
func (r *durableRun) gone(x *session) {
	x.cancel(ErrLost)
	x.watchdog.Stop()
	for _, key := range []string{x.p.stream, x.p.delayed, x.keys.retry} {
		r.pushes.CompareAndDelete(key, x)
	}
	r.mu.Lock()
	if r.sessions[x.index] == x {
		delete(r.sessions, x.index)
	}
	r.sub.stats.owned.Store(int64(len(r.sessions)))
	r.sum()
	r.mu.Unlock()
	select {
	case r.kicked <- struct{}{}:
	default:
	}
}

func (r *durableRun) gap(g Gap) {
	r.sub.stats.gaps.Add(1)
	r.sub.gaps.add(g)
}

// closeDrain is how long handlers have when the client closes under them.
const closeDrain = 1200 * time.Millisecond

// drain gives all partitions back: no new handler starts, running ones have the drain timeout.
func (r *durableRun) drain(ctx context.Context) {
	r.mu.Lock()
	var all []*session
	for _, x := range r.sessions {
		x.draining, x.final = true, true
		all = append(all, x)
		x.kick()
	}
	r.mu.Unlock()
	var wg sync.WaitGroup
	for _, x := range all {
		wg.Go(func() { <-x.ended })
	}
	end, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-r.d.closing:
		case <-end.Done():
			return
		}
		select {
		case <-time.After(closeDrain):
			cancel()
		case <-end.Done():
		}
	}()
	drain(&wg, r.sub.opt.DrainTimeout, end, func() {
		r.mu.Lock()
		for _, x := range all {
			x.cancel(ErrStopping)
		}
		r.mu.Unlock()
		time.AfterFunc(500*time.Millisecond, func() { // a handler that ignores its context: its event is given back under it
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, x := range all {
				x.running = 0
				x.kick()
			}
		})
	})
	bye, cancelBye := context.WithTimeout(context.WithoutCancel(ctx), 2*r.d.core.Timeout())
	defer cancelBye()
	if _, err := r.beat(bye, 0); err != nil {
		r.d.core.Logger().Debug("events: the leave was not said; the others learn it when the lease ends", "bus", r.d.bus, "error", err)
	}
	r.sub.gaps.flush(bye)
}

// measure looks how far behind the group is in one partition, for Stats: one round trip.
func (r *durableRun) measure(ctx context.Context, x *session) {
	ctx, cancel := context.WithDeadline(ctx, x.until.at)
	defer cancel()
	replies := r.d.core.DoMulti(ctx, core.ReadAt(x.p.stream, "XINFO", "GROUPS", x.p.stream), core.Read("XPENDING", x.p.stream, r.sub.name), core.ReadAt("", "TIME"))
	groups, err1 := replies[0].Get()
	pending, err2 := replies[1].Get()
	clock, err3 := replies[2].Get()
	if err1 != nil || err2 != nil || err3 != nil {
		return
	}
	var count int64
	var age time.Duration
	all, _ := groups.ToArray()
	for _, g := range all {
		info, err := g.AsMap()
		name, lag := info["name"], info["lag"]
		if text, _ := name.ToString(); err == nil && text == r.sub.name && !lag.IsNil() {
			count, _ = lag.AsInt64()
		}
	}
	summary, _ := pending.ToArray()
	now, _ := clock.AsIntSlice()
	if len(summary) > 1 && len(now) > 0 && !summary[1].IsNil() {
		id, _ := summary[1].ToString()
		ms, _, _ := strings.Cut(id, "-")
		if since, err := strconv.ParseInt(ms, 10, 64); err == nil {
			age = max(time.Duration(now[0]*1000-since)*time.Millisecond, 0)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	x.lagged, x.aged = count, age
	r.sum()
}

// sum adds up what measure and the turns found.
func (r *durableRun) sum() {
	var lag, waiting int64
	var oldest time.Duration
	for _, x := range r.sessions {
		lag += x.lagged
		waiting += x.waiting
		oldest = max(oldest, x.aged)
	}
	r.sub.stats.lag.Store(lag)
	r.sub.stats.waiting.Store(waiting)
	r.sub.stats.oldest.Store(int64(oldest))
}
