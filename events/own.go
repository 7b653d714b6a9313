package events

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/core"
)

func (r *durableRun) newConsumer(i int) *partitionConsumer {
	p := r.d.parts[i]
	return &partitionConsumer{d: r.d, run: r, p: p, index: i, keys: r.d.groupKeys(p, r.sub.name), token: r.member + "-" + newID(time.Now()),
		woken: make(chan struct{}, 1), ended: make(chan struct{}), queues: make(map[string]*channelQueue),
		handedOut: make(map[*channelQueue]bool)}
}

// own starts a consumer whose lease was granted.
func (r *durableRun) own(c *partitionConsumer, granted core.Reply, sent time.Time) error {
	parts, err := granted.ToArray()
	if err != nil || len(parts) != 2 {
		return unexpected("lease", err)
	}
	fence, _ := parts[0].ToString()
	if c.fence, err = strconv.ParseInt(fence, 10, 64); err != nil {
		return unexpected("fence", err)
	}
	if made, _ := parts[1].AsInt64(); made == 1 {
		r.gap(Gap{Reason: GapReset, Partition: c.index})
	}
	c.ctx, c.cancel = context.WithCancelCause(r.values)
	c.watchdog = r.d.core.Time().AfterFunc(r.d.opt.Lease, c.expire)
	c.renewed(sent)
	r.mu.Lock()
	r.consumers[c.index] = c
	r.sub.stats.owned.Store(int64(len(r.consumers)))
	r.mu.Unlock()
	for _, key := range []string{c.p.stream, c.p.delayed, c.keys.retry} {
		r.pushes.Store(key, c)
	}
	if !r.d.core.Group().Go("owner of an event partition", c.loop) {
		r.ended(c)
		close(c.ended)
	}
	return nil
}

// ended removes a consumer that has ended, and makes manage look at the share again.
func (r *durableRun) ended(c *partitionConsumer) {
	c.cancel(ErrLost)
	c.watchdog.Stop()
	for _, key := range []string{c.p.stream, c.p.delayed, c.keys.retry} {
		r.pushes.CompareAndDelete(key, c)
	}
	r.mu.Lock()
	if r.consumers[c.index] == c {
		delete(r.consumers, c.index)
	}
	r.sub.stats.owned.Store(int64(len(r.consumers)))
	r.sum()
	r.mu.Unlock()
	select {
	case r.woken <- struct{}{}:
	default:
	}
}

func (r *durableRun) gap(g Gap) {
	r.sub.stats.gaps.Add(1)
	r.sub.gaps.add(g)
}

// closeDrain is how long handlers may run on when the client closes.
const closeDrain = 1200 * time.Millisecond

// drain gives all partitions back. No handler starts; running ones have DrainTimeout.
func (r *durableRun) drain(ctx context.Context) {
	r.mu.Lock()
	var all []*partitionConsumer
	for _, c := range r.consumers {
		if c.phase != resetting && c.phase != over {
			c.to(stopping)
		}
		all = append(all, c)
		c.wake()
	}
	r.mu.Unlock()
	var wg sync.WaitGroup
	for _, c := range all {
		wg.Go(func() { <-c.ended })
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
		for _, c := range all {
			c.cancel(ErrStopping)
		}
		r.mu.Unlock()
		time.AfterFunc(500*time.Millisecond, func() { // a handler that ignores its context: its event is given back while it runs
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, c := range all {
				c.running = 0
				c.wake()
			}
		})
	})
	bye, cancelBye := context.WithTimeout(context.WithoutCancel(ctx), 2*r.d.core.Timeout())
	defer cancelBye()
	if _, _, err := r.heartbeat(bye, 0); err != nil {
		r.d.core.Logger().Debug("events: failed to leave the group; other processes notice when the membership expires",
			"bus", r.d.bus, "error", err)
	}
	r.sub.gaps.flush(bye)
}
