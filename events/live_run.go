package events

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/hub"
	"github.com/redstart-go/redstart/internal/keys"
)

// liveRun is one Run of a live subscriber.
type liveRun struct {
	live  *Live
	sub   *Subscriber
	queue *liveQueue
	end   context.CancelCauseFunc

	partitions [globPartitions]bool // those that its patterns need

	workers sync.WaitGroup // one count per worker, which its replacement takes over

	mu     sync.Mutex
	outage map[string]*outage // by node
	failed error              // the server's refusal of a subscription
}

// outage counts the channels of one node that are down, so that one interruption is one gap.
type outage struct {
	down  int
	back  bool // a channel was restored
	probe bool // it was a probe that found it
}

func (l *Live) serve(ctx context.Context, s *Subscriber) error {
	defer l.stats.remove(s)
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	r := &liveRun{live: l, sub: s, queue: newLiveQueue(s.opt.Queue, s.opt.QueueBytes, s.opt.Overflow), end: end, outage: make(map[string]*outage)}
	for _, i := range s.globs {
		first, n := globPartitionsOf(s.handlers[i].pattern)
		for p := range n {
			r.partitions[first+p] = true
		}
	}
	group := l.core.Group()
	stopped := context.AfterFunc(group.Context(), func() { end(nil) })
	defer stopped()
	closed := context.AfterFunc(l.life.ctx, func() { end(nil) })
	defer closed()

	handlers, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	for range s.opt.Concurrency {
		r.workers.Add(1)
		r.spawn(handlers, nil)
	}
	subscriptions := r.subscribe(ctx)
	if ctx.Err() == nil {
		close(s.ready)
		r.watch(ctx)
	}
	for _, sub := range subscriptions {
		sub.Close()
	}
	s.stats.dropped.Add(int64(r.queue.close()))
	drain(&r.workers, s.opt.DrainTimeout, group.Context(), func() { cancel(ErrStopping) })
	told, done := context.WithTimeout(group.Context(), time.Second)
	defer done()
	s.gaps.flush(told)
	if errors.Is(context.Cause(ctx), ErrOverflow) {
		return ErrOverflow
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

// drain waits for handlers; when the timeout has passed, or the client closes, their context ends and they have a second more.
func drain(running *sync.WaitGroup, timeout time.Duration, closing context.Context, cancel func()) {
	done := make(chan struct{})
	go func() { running.Wait(); close(done) }()
	var late <-chan time.Time
	if timeout != NoDrainTimeout {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-done:
		return
	case <-late:
	case <-closing.Done():
	}
	cancel()
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C: // a handler that ignores its context; Close of the client names it
	}
}

// subscribe subscribes to what the handlers want, and returns when the server has confirmed it or ctx has ended.
func (r *liveRun) subscribe(ctx context.Context) []*hub.Subscription {
	type want struct {
		server, channel string
		w               which
	}
	var wants []want
	for channel := range r.sub.exact {
		wants = append(wants, want{r.live.space.Key(channel), channel, exactHandlers})
	}
	for i, wanted := range r.partitions {
		if wanted {
			wants = append(wants, want{r.live.globs[i], "", globHandlers})
		}
	}
	var mu sync.Mutex
	var all []*hub.Subscription
	var wg sync.WaitGroup
	slots := make(chan struct{}, 512) // as many as the hub asks for at once
	for _, w := range wants {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			sub, err := r.live.core.Hub().Subscribe(ctx, w.server, r.receiver(w.server, w.channel, w.w))
			if err != nil {
				if ctx.Err() == nil && !errors.Is(err, hub.ErrClosed) {
					r.mu.Lock()
					r.failed = errors.Join(r.failed, fmt.Errorf("subscribe to %q: %w", w.server, err))
					r.mu.Unlock()
				}
				r.end(err)
				return
			}
			mu.Lock()
			all = append(all, sub)
			mu.Unlock()
		})
	}
	wg.Wait()
	return all
}

// receiver hands over to the queue. Its functions run in the connection's reader.
func (r *liveRun) receiver(server, channel string, w which) hub.Receiver {
	node, _ := r.live.core.Owner(keys.Slot(server))
	refused := false // under the lock: it is out of the node's outage
	return hub.Receiver{
		Message: func(text string) {
			ch := channel
			if w == globHandlers {
				ch = subjectOf(text)
				if _, both := r.sub.exact[ch]; both {
					return // what comes on the channel's own subscription is for all its handlers
				}
				if !r.wanted(ch) {
					r.sub.stats.filtered.Add(1)
					return
				}
			}
			r.sub.stats.received.Add(1)
			dropped, ok := r.queue.push(ch, text, w)
			if dropped > 0 {
				r.sub.stats.dropped.Add(int64(dropped))
				r.gap(Gap{Reason: GapOverflow, Missed: int64(dropped), Partition: -1})
			}
			if !ok {
				r.end(ErrOverflow)
			}
		},
		Lost: func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			o := r.outage[node]
			if o == nil {
				o = &outage{}
				r.outage[node] = o
			}
			o.down++
		},
		Restored: func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			o := r.outage[node]
			switch {
			case refused:
				refused = false
				r.gap(Gap{Reason: GapReconnect, Channel: channel, Partition: -1})
			case o != nil:
				o.back = true
				r.ended(node, o)
			}
		},
		// A channel that is refused holds up no other channel's gap: it gets its own once it is restored.
		Refused: func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			if o := r.outage[node]; o != nil && !refused {
				refused = true
				r.ended(node, o)
			}
		},
	}
}

// ended takes one channel out of an outage; the last one ends it. It holds the lock.
func (r *liveRun) ended(node string, o *outage) {
	if o.down--; o.down > 0 {
		return
	}
	delete(r.outage, node)
	if !o.back {
		return
	}
	reason := GapReconnect
	if o.probe {
		reason = GapProbe
	}
	r.gap(Gap{Reason: reason, Partition: -1})
}

func (r *liveRun) gap(g Gap) {
	r.sub.stats.gaps.Add(1)
	r.sub.gaps.add(g)
}

func (r *liveRun) wanted(channel string) bool {
	for _, i := range r.sub.globs {
		if match(r.sub.handlers[i].pattern, channel) {
			return true
		}
	}
	return false
}

// subjectOf is the channel of an event, without reading all of it; "" if it can't be read.
func subjectOf(text string) string {
	if e, ok := headOf(text); ok {
		return e
	}
	e, err := parseAny(text, false)
	if err != nil {
		return ""
	}
	return e.Subject
}

// spawn starts a worker, which has a count of workers. It first concludes done, if an earlier worker could not.
func (r *liveRun) spawn(ctx context.Context, done *liveEvent) {
	if !r.live.core.Group().Go("handler of live events", func(context.Context) { r.work(ctx, done) }) {
		r.workers.Done()
	}
}

// work handles events until the queue is closed.
func (r *liveRun) work(ctx context.Context, e *liveEvent) {
	ended := false
	defer func() {
		if ended {
			r.workers.Done()
			return
		}
		r.spawn(ctx, e) // user code called runtime.Goexit: another goroutine works on
	}()
	for ok := true; ; {
		if e, ok = r.queue.next(e); !ok {
			ended = true
			return
		}
		r.handle(ctx, e)
	}
}

// handle makes the one attempt of a live event.
func (r *liveRun) handle(ctx context.Context, e *liveEvent) {
	d := delivery{attempt: 1}
	concluded := false
	defer func() {
		if !concluded { // runtime.Goexit
			r.sub.failed(ctx, &d, errGoexit)
		}
	}()

	err := d.parse(e.text, r.live.foreign)
	if e.w == exactHandlers {
		d.Subject = e.channel // also of a program that sends none
	}
	some := true
	if err == nil {
		some, err = r.sub.dispatch(ctx, &d, allHandlers)
	}

	concluded = true
	switch {
	case err != nil:
		r.sub.failed(ctx, &d, err)
	case some:
		r.sub.stats.handled.Add(1)
	default:
		r.sub.stats.unhandled.Add(1)
	}
}
