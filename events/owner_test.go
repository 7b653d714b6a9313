package events_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// A handler that runs longer than the lease keeps its event while its process renews.
func TestE2_SlowHandlerKeepsItsEvent(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		var calls, inside atomic.Int32
		opts := events.DurableOptions{Partitions: 2, Lease: time.Second}
		release := make(chan struct{})
		for range 3 {
			bus := durable(t, open(t, e.URL, e.Namespace), opts)
			sub := subscriber(t, bus, "g", events.SubscriberOptions{})
			must(t, notes.Handle(sub, "*", func(ctx context.Context, ev events.Event[note]) error {
				if ev.Channel == "other" {
					return nil
				}
				calls.Add(1)
				if inside.Add(1) > 1 || ev.Attempt != 1 {
					t.Errorf("the event was given out again, attempt %d", ev.Attempt)
				}
				defer inside.Add(-1)
				select {
				case <-release:
				case <-ctx.Done():
					t.Errorf("the handler's context ended: %v", context.Cause(ctx))
				}
				return nil
			}))
			run(t, sub)
		}
		bus := durable(t, open(t, e.URL, e.Namespace), opts)
		must(t, notes.Publish(t.Context(), bus, "slow", note{}))
		rig.Eventually(t, 10*time.Second, "the handler starts", func() bool { return calls.Load() == 1 })
		polls := func() int64 {
			n, _, err := bus.Polls(t.Context(), "g", "slow")
			must(t, err)
			return n
		}
		first := polls()
		rig.Eventually(t, 30*time.Second, "three and a half leases, of which each is renewed four times at most",
			func() bool { return polls() >= first+14 })
		close(release)
		rig.Eventually(t, 10*time.Second, "the handler ends", func() bool { return inside.Load() == 0 })
		must(t, notes.Publish(t.Context(), bus, "other", note{}))
		if n := calls.Load(); n != 1 {
			t.Errorf("%d calls", n)
		}
	})
}

// When the network to a consumer fails, its handler's context ends with ErrLost before another
// consumer gets the event. Another consumer gets it within 15 s with default options.
func TestE2_LostLeaseEndsTheHandlerFirst(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	server := rig.Shared(t)
	namespace := rig.Prefix(t)
	for _, lease := range []time.Duration{time.Second, 0} {
		t.Run(fmt.Sprint(lease), func(t *testing.T) {
			t.Parallel()
			proxy := rig.NewProxy(t, server.Addr())
			ns := fmt.Sprint(namespace, "-", int(lease))
			cut := durable(t, openWithin(t, 2*time.Second, proxy.URL(), ns), events.DurableOptions{Partitions: 1, Lease: lease})
			well := durable(t, open(t, server.URL(), ns), events.DurableOptions{Partitions: 1, Lease: lease})

			started, lost := make(chan int64, 1), make(chan time.Time, 1)
			a := subscriber(t, cut, "g", events.SubscriberOptions{DrainTimeout: time.Second, Backoff: soon})
			must(t, notes.Handle(a, "*", func(ctx context.Context, e events.Event[note]) error {
				started <- e.Fence
				<-ctx.Done()
				if !errors.Is(context.Cause(ctx), events.ErrLost) {
					t.Errorf("cause %v, want ErrLost", context.Cause(ctx))
				}
				lost <- time.Now()
				return ctx.Err()
			}))
			run(t, a)
			type second struct {
				at             time.Time
				fence, attempt int64
			}
			again := make(chan second, 1)
			must(t, notes.Publish(t.Context(), well, "a", note{}))
			fence := <-started
			b := subscriber(t, well, "g", events.SubscriberOptions{Backoff: soon})
			must(t, notes.Handle(b, "*", func(_ context.Context, e events.Event[note]) error {
				again <- second{time.Now(), e.Fence, int64(e.Attempt)}
				return nil
			}))
			run(t, b)
			watch := rig.Watch(t)
			proxy.Stall()
			var first time.Time
			select {
			case first = <-lost:
			case <-time.After(30 * time.Second):
				t.Fatal("the handler's context did not end")
			}
			select {
			case s := <-again:
				if !s.at.After(first) {
					t.Errorf("the event passed on %v before the handler's context ended", first.Sub(s.at))
				}
				if s.fence <= fence || s.attempt != 2 {
					t.Errorf("fence %d after %d, attempt %d", s.fence, fence, s.attempt)
				}
				if d, most := watch.Took(), 15*time.Second; d > most { // the guarantee
					t.Errorf("the partition passed on after %v, not within %v", d, most)
				}
			case <-time.After(30 * time.Second):
				t.Fatal("the partition did not pass on")
			}
			proxy.Resume()
		})
	}
}

// Partitions are shared out evenly when processes come and go.
func TestPartitionsAreShared(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		var subs []*events.Subscriber
		var stops []func()
		opts := events.DurableOptions{Partitions: 7, Lease: time.Second}
		add := func() {
			bus := durable(t, open(t, e.URL, e.Namespace), opts)
			sub := subscriber(t, bus, "g", events.SubscriberOptions{})
			must(t, notes.Handle(sub, "*", func(context.Context, events.Event[note]) error { return nil }))
			stops = append(stops, run(t, sub))
			subs = append(subs, sub)
		}
		want := func(counts ...int64) {
			t.Helper()
			rig.Eventually(t, 15*time.Second, fmt.Sprint("shares of ", counts), func() bool {
				var low, high, sum int64 = 99, 0, 0
				for _, s := range subs {
					n := s.Stats().Partitions
					low, high, sum = min(low, n), max(high, n), sum+n
				}
				return low == counts[0] && high == counts[1] && sum == 7
			})
		}
		add()
		want(7, 7)
		add()
		want(3, 4)
		add()
		want(2, 3)
		stops[0]()
		subs = subs[1:]
		want(3, 4)
		stops[1]()
		subs = subs[1:]
		want(7, 7)
	})
}

// At a shutdown, running handlers finish. A handler that does not finish in time is ended, and its
// event is given back without counting the attempt. No new handler starts.
func TestE6_ShutdownDrains(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		const drainTimeout, grace, lease = 300 * time.Millisecond, 500 * time.Millisecond, 10 * time.Second
		bus := durable(t, open(t, e.URL, e.Namespace), events.DurableOptions{Partitions: 1, Lease: lease})
		sub := subscriber(t, bus, "g", events.SubscriberOptions{DrainTimeout: drainTimeout, MaxAttempts: 1})
		ctx, cancel := context.WithCancel(context.Background())
		var after atomic.Int32
		var mu sync.Mutex
		ended := map[string]bool{}
		running := make(chan string, 10)
		finish := make(chan struct{})
		must(t, notes.Handle(sub, "*", func(hctx context.Context, e events.Event[note]) error {
			if ctx.Err() != nil {
				after.Add(1)
			}
			running <- e.Channel
			switch e.Channel {
			case "quick":
				<-finish
			case "slow":
				<-hctx.Done()
				if !errors.Is(context.Cause(hctx), events.ErrStopping) {
					t.Errorf("cause %v, want ErrStopping", context.Cause(hctx))
				}
				return hctx.Err()
			}
			mu.Lock()
			defer mu.Unlock()
			ended[e.Channel] = true
			return nil
		}))
		done := make(chan error, 1)
		go func() { done <- sub.Run(ctx) }()
		<-sub.Ready()
		for range 10 {
			must(t, notes.Publish(t.Context(), bus, "quick", note{}))
			must(t, notes.Publish(t.Context(), bus, "slow", note{}))
		}
		<-running
		<-running
		watch := rig.Watch(t)
		cancel()
		close(finish)
		select {
		case err := <-done:
			must(t, err)
		case <-time.After(20 * time.Second):
			t.Fatal("Run did not end")
		}
		if d, within := watch.Took(), drainTimeout+grace+lease/4; d > within {
			t.Errorf("the drain took %v, want at most %v: DrainTimeout, the grace of the contexts and a quarter "+
				"of the lease", d, within)
		}
		if after.Load() != 0 {
			t.Errorf("%d handlers started after the shutdown", after.Load())
		}
		mu.Lock()
		if !ended["quick"] {
			t.Error("the handler that could finish did not")
		}
		mu.Unlock()
		next := subscriber(t, bus, "g", events.SubscriberOptions{MaxAttempts: 1})
		got := newLog()
		must(t, notes.Handle(next, "*", func(_ context.Context, e events.Event[note]) error {
			if e.Attempt != 1 {
				t.Errorf("%s: attempt %d: giving back counted", e.Channel, e.Attempt)
			}
			got.add(e.Channel, e.Data.N)
			return nil
		}))
		run(t, next)
		rig.Eventually(t, 30*time.Second, "the rest", func() bool { return len(got.of("slow")) == 10 && len(got.of("quick")) == 9 })
		if n, err := bus.DeadLetters("g").Count(t.Context()); err != nil || n != 0 {
			t.Errorf("%d dead letters, %v", n, err)
		}
	})
}

// Close of the client ends a running subscriber, also if a handler runs until its context ends.
// Close then takes as long as with an idle subscriber, and the time that handlers have at a close.
func TestCloseEndsSubscribers(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	const handlers, grace = 1200 * time.Millisecond, 500 * time.Millisecond
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		took := func(busy bool) time.Duration {
			client := open(t, e.URL, e.Namespace)
			bus := durable(t, client, events.DurableOptions{Partitions: 2})
			sub := subscriber(t, bus, fmt.Sprint("g", busy), events.SubscriberOptions{DrainTimeout: events.NoDrainTimeout})
			started := make(chan struct{})
			must(t, notes.Handle(sub, "*", func(ctx context.Context, e events.Event[note]) error {
				close(started)
				<-ctx.Done()
				return ctx.Err()
			}))
			done := make(chan error, 1)
			go func() { done <- sub.Run(context.Background()) }()
			<-sub.Ready()
			if busy {
				must(t, notes.Publish(t.Context(), bus, "a", note{}))
				<-started
			}
			watch := rig.Watch(t)
			must(t, client.Close())
			d := watch.Took()
			select {
			case err := <-done:
				must(t, err)
			case <-time.After(20 * time.Second):
				t.Fatal("Run did not end")
			}
			return d
		}
		control := took(false)
		if d := took(true); d > control+handlers+grace {
			t.Errorf("Close took %v next to a handler, %v next to none; handlers have %v", d, control, handlers)
		}
	})
}

// Lost replies do not change the order of a channel: the events of a lost reply come before the
// events of the next read.
func TestE4_LostAnswersKeepOrder(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	server := rig.Standalone(t)
	proxy := rig.NewProxy(t, server.Addr())
	shaky := durable(t, open(t, proxy.URL(), "app"), events.DurableOptions{Partitions: 1, Lease: 5 * time.Second})
	well := durable(t, open(t, server.URL(), "app"), events.DurableOptions{Partitions: 1, Lease: 5 * time.Second})
	var mu sync.Mutex
	next, repeated := map[string]int{}, 0
	sub := subscriber(t, shaky, "g", events.SubscriberOptions{Backoff: soon})
	must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error {
		mu.Lock()
		defer mu.Unlock()
		if e.Data.N > next[e.Channel] {
			t.Errorf("%s: event %d was handled before %d", e.Channel, e.Data.N, next[e.Channel])
		}
		next[e.Channel] = max(next[e.Channel], e.Data.N+1)
		if e.Attempt > 1 {
			repeated++
		}
		return nil
	}))
	run(t, sub)
	ctx, stop := context.WithTimeout(t.Context(), 4*time.Second)
	defer stop()
	var wg sync.WaitGroup
	var published atomic.Int64
	for c := range 4 {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if err := notes.Publish(t.Context(), well, fmt.Sprint("c", c), note{N: n}); err != nil {
					t.Error(err)
					return
				}
				published.Add(1)
			}
		})
	}
	cuts := time.NewTicker(60 * time.Millisecond)
	defer cuts.Stop()
	for ctx.Err() == nil {
		proxy.StallReplies() // polls are executed, and their replies are lost
		<-cuts.C
		proxy.Cut()
		proxy.Resume()
		<-cuts.C
	}
	wg.Wait()
	rig.Eventually(t, 30*time.Second, "all events", func() bool {
		mu.Lock()
		defer mu.Unlock()
		sum := 0
		for _, n := range next {
			sum += n
		}
		return int64(sum) == published.Load()
	})
	mu.Lock()
	defer mu.Unlock()
	if sub.Stats().Lost == 0 && repeated > 0 { // the consumer never lost its lease
		t.Errorf("%d events ran as a second attempt: lost replies cost attempts", repeated)
	}
}
