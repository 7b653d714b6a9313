package lock

import (
	"context"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/core"
)

const (
	orphanRetry  = 50 * time.Millisecond // after no answer
	orphanSettle = 3 * time.Second       // how long an acquire without an answer may still arrive
	orphansMax   = 100_000
	orphanFlight = 8 // batches on their way at once
)

// orphans frees, in the background, what an id holds or may yet come to hold on the server without anybody here
// knowing of it: acquires without an answer, releases without one, places in queues. One goroutine, and only
// while there is something to free.
type orphans struct {
	locker *Locker
	wake   chan struct{}

	mu      sync.Mutex
	list    []*orphan
	running bool
	flight  int
}

type orphan struct {
	call   core.Call
	family *family
	sure   bool          // it was ours: "nothing there" ends it
	next   time.Duration // when to ask
	wait   time.Duration // before the next try
	settle time.Duration // until then "nothing there" may still change
	until  time.Duration // then its lease is over anyway
	empty  int           // answers that there was nothing
	busy   bool
}

func newOrphans(l *Locker) *orphans { return &orphans{locker: l, wake: make(chan struct{}, 1)} }

// free has what id has under the targets freed. A token of 0 says that it is not known whether it has anything.
func (o *orphans) free(id string, token int64, targets ...*target) {
	l := o.locker
	now := l.clock().mono
	o.mu.Lock()
	for _, t := range targets {
		if len(o.list) >= orphansMax {
			break // it lapses with its lease
		}
		o.list = append(o.list, &orphan{
			call: l.releaseCall(t, id, token), family: t.family, sure: token > 0,
			next: now, wait: orphanRetry, settle: now + orphanSettle, until: now + l.opt.TTL + orphanSettle,
		})
	}
	start := !o.running
	if start {
		// At once, and before the caller returns: the request goes out behind the one that it undoes.
		o.running = l.core.Group().Go("freeing of abandoned locks", o.run)
	}
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *orphans) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-o.wake:
		}
		wait, idle := o.look()
		if idle {
			return
		}
		timer.Reset(wait)
	}
}

// look sends what is due, in batches, and says how long until more is.
func (o *orphans) look() (wait time.Duration, idle bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.locker.clock().mono
	kept := o.list[:0]
	due := map[*family][]*orphan{}
	wait = time.Second
	for _, x := range o.list {
		if !x.busy && now >= x.until {
			continue
		}
		kept = append(kept, x)
		switch {
		case x.busy:
		case x.next > now:
			wait = min(wait, x.next-now)
		case len(due[x.family]) < chunk && o.flight < orphanFlight:
			x.busy = true
			due[x.family] = append(due[x.family], x)
		default:
			wait = min(wait, time.Millisecond)
		}
	}
	clear(o.list[len(kept):])
	o.list = kept
	for family, batch := range due {
		o.flight++
		if !o.locker.core.Group().Go("freeing of abandoned locks", func(ctx context.Context) { o.send(ctx, family, batch) }) {
			o.flight--
		}
	}
	o.running = len(o.list) > 0
	return wait, !o.running
}

func (o *orphans) send(ctx context.Context, family *family, batch []*orphan) {
	calls := make([]core.Call, len(batch))
	for i, x := range batch {
		calls[i] = x.call
	}
	results := o.locker.core.EvalMulti(ctx, family.release, calls)
	now := o.locker.clock().mono
	o.mu.Lock()
	o.flight--
	for i, x := range batch {
		x.busy = false
		msg, err := results[i].Get()
		if err != nil {
			x.wait = min(2*x.wait, time.Second/4)
			x.next = now + x.wait
			continue
		}
		n, err := msg.AsInt64()
		if err == nil && (n == 1 || n == 3 || x.sure || now >= x.settle) {
			x.until = 0 // done
		}
		x.empty++
		x.next = now + orphanRetry<<min(x.empty, 6)
	}
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// flush sends everything once, at the end.
func (o *orphans) flush(ctx context.Context) {
	o.mu.Lock()
	calls := map[*family][]core.Call{}
	for _, x := range o.list {
		if !x.sure && x.wait > orphanRetry {
			continue // asked already
		}
		calls[x.family] = append(calls[x.family], x.call)
	}
	o.list = nil
	o.mu.Unlock()
	for family, all := range calls {
		for start := 0; start < len(all); start += chunk {
			o.locker.core.EvalMulti(ctx, family.release, all[start:min(start+chunk, len(all))])
		}
	}
}
