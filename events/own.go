package events

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/core"
)

func (r *durableRun) session(i int) *session {
	p := r.d.parts[i]
	return &session{d: r.d, run: r, p: p, index: i, keys: r.d.groupKeys(p, r.sub.name), token: r.member + "-" + newID(time.Now()),
		kicked: make(chan struct{}, 1), ended: make(chan struct{}), lanes: make(map[string]*lane), remote: make(map[*lane]bool)}
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
		if x.phase != over {
			x.to(stopping)
		}
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
	if _, _, err := r.beat(bye, 0); err != nil {
		r.d.core.Logger().Debug("events: the leave was not said; the others learn it when the lease ends", "bus", r.d.bus, "error", err)
	}
	r.sub.gaps.flush(bye)
}
