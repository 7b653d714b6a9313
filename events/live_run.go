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

	partitions [globPartitions]bool // the glob partitions that the patterns need

	workers sync.WaitGroup // one count per worker; the successor of a worker keeps its count

	mu      sync.Mutex
	outages map[string]*outage // by node
	failed  error              // the error of a refused subscription
}

// outage counts the channels of one node that are down, so that one interruption is one gap.
type outage struct {
	down     int
	restored bool // at least one channel was restored
	probe    bool // a probe has found the interruption
}

func (l *Live) serve(ctx context.Context, s *Subscriber) error {
	defer l.stats.remove(s)
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	r := &liveRun{live: l, sub: s, queue: newLiveQueue(s.opt.Queue, s.opt.QueueBytes, s.opt.Overflow),
		end: end, outages: make(map[string]*outage)}
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
	flush, done := context.WithTimeout(group.Context(), time.Second)
	defer done()
	s.gaps.flush(flush)
	if errors.Is(context.Cause(ctx), ErrOverflow) {
		return ErrOverflow
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

// drain waits for the running handlers. When the timeout passes or the client closes, their context
// ends, and drain waits for one more second.
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
	case <-timer.C: // a handler ignores its context; Close of the client names it
	}
}

// subscribe subscribes to all channels and glob partitions of the handlers. It returns when the
// server has confirmed all subscriptions, or when ctx has ended.
func (r *liveRun) subscribe(ctx context.Context) []*hub.Subscription {
	type want struct {
		server, channel string
		handlers        handlerSet
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
	slots := make(chan struct{}, 512) // the hub sends at most 512 subscriptions at once
	for _, w := range wants {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			sub, err := r.live.core.Hub().Subscribe(ctx, w.server, r.receiver(w.server, w.channel, w.handlers))
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

// receiver puts the messages of a subscription into the queue. Its functions run in the reader of
// the connection, so they never wait.
func (r *liveRun) receiver(server, channel string, handlers handlerSet) hub.Receiver {
	node, _ := r.live.core.Owner(keys.Slot(server))
	refused := false // guarded by the lock; true: the channel is not part of the node's outage
	return hub.Receiver{
		Message: func(text string) { r.receive(channel, text, handlers) },
		Lost: func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			o := r.outages[node]
			if o == nil {
				o = &outage{}
				r.outages[node] = o
			}
			o.down++
		},
		Restored: func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			o := r.outages[node]
			switch {
			case refused:
				refused = false
				r.gap(Gap{Reason: GapReconnect, Channel: channel, Partition: -1})
			case o != nil:
				o.restored = true
				r.ended(node, o)
			}
		},
		// A refused channel does not delay the gap of the other channels. It gets its own gap when
		// it is restored.
		Refused: func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			if o := r.outages[node]; o != nil && !refused {
				refused = true
				r.ended(node, o)
			}
		},
	}
}

// receive puts one message into the queue.
func (r *liveRun) receive(channel, text string, handlers handlerSet) {
	if handlers == globHandlers {
		channel = subjectOf(text)
		if _, both := r.sub.exact[channel]; both {
			return // the event also arrives on the channel's own subscription, for all handlers
		}
		if !r.wanted(channel) {
			r.sub.stats.filtered.Add(1)
			return
		}
	}

	r.sub.stats.received.Add(1)
	dropped, ok := r.queue.push(channel, text, handlers)
	if dropped > 0 {
		r.sub.stats.dropped.Add(int64(dropped))
		r.gap(Gap{Reason: GapOverflow, Missed: int64(dropped), Partition: -1})
	}
	if !ok {
		r.end(ErrOverflow)
	}
}

// ended removes one channel from an outage. The last channel ends the outage. The caller holds the
// lock.
func (r *liveRun) ended(node string, o *outage) {
	if o.down--; o.down > 0 {
		return
	}
	delete(r.outages, node)
	if !o.restored {
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

// subjectOf returns the channel of an event without reading all of it. It returns "" if the event
// can't be decoded.
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

// spawn starts a worker, which holds one count of workers. The argument done is the event that an
// earlier worker has not concluded, or nil.
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
		r.spawn(ctx, e) // user code called runtime.Goexit: another goroutine continues
	}()
	for ok := true; ; {
		if e, ok = r.queue.next(e); !ok {
			ended = true
			return
		}
		r.handle(ctx, e)
	}
}

// handle makes the only attempt of a live event.
func (r *liveRun) handle(ctx context.Context, e *liveEvent) {
	d := delivery{attempt: 1}
	concluded := false
	defer func() {
		if !concluded { // runtime.Goexit
			r.sub.failed(ctx, &d, errGoexit)
		}
	}()

	err := d.parse(e.text, r.live.foreign)
	if e.handlers == exactHandlers {
		d.Subject = e.channel.name // a program without this library may send none
	}
	handled := true
	if err == nil {
		handled, err = r.sub.dispatch(ctx, &d)
	}

	concluded = true
	switch {
	case err != nil:
		r.sub.failed(ctx, &d, err)
	case handled:
		r.sub.stats.handled.Add(1)
	default:
		r.sub.stats.unhandled.Add(1)
	}
}
