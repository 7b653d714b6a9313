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
		time.AfterFunc(3500*time.Millisecond, func() { close(release) }) // three and a half leases
		<-release
		rig.Eventually(t, 10*time.Second, "the handler ends", func() bool { return inside.Load() == 0 })
		must(t, notes.Publish(t.Context(), bus, "other", note{}))
		if n := calls.Load(); n != 1 {
			t.Errorf("%d calls", n)
		}
	})
}

// When the network to a consumer dies, its handler's context ends with ErrLost before anybody else gets the event, and somebody does
// within 15 s with default options.
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
			dead := time.Now()
			proxy.Stall()
			var first time.Time
			select {
			case first = <-lost:
			case <-time.After(15 * time.Second):
				t.Fatal("the handler's context did not end within 15 s")
			}
			select {
			case s := <-again:
				if !s.at.After(first) {
					t.Errorf("the event passed on %v before the handler's context ended", first.Sub(s.at))
				}
				if s.fence <= fence || s.attempt != 2 {
					t.Errorf("fence %d after %d, attempt %d", s.fence, fence, s.attempt)
				}
				if d := s.at.Sub(dead); d > 15*time.Second {
					t.Errorf("the partition passed on after %v", d)
				}
			case <-time.After(15*time.Second - time.Since(dead)):
				t.Fatal("the partition did not pass on within 15 s")
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

// Shutdown: a running handler finishes; one that does not in time is ended and its event given back without counting the attempt;
// no new handler starts.
func TestE6_ShutdownDrains(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		bus := durable(t, open(t, e.URL, e.Namespace), events.DurableOptions{Partitions: 1})
		sub := subscriber(t, bus, "g", events.SubscriberOptions{DrainTimeout: 300 * time.Millisecond, MaxAttempts: 1})
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
		cancel()
		close(finish)
		began := time.Now()
		select {
		case err := <-done:
			must(t, err)
		case <-time.After(5 * time.Second):
			t.Fatal("Run did not end")
		}
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("the drain took %v", d)
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

// A client that closes under a subscriber ends it, also when a handler ignores its context for a while.
func TestCloseEndsSubscribers(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := open(t, e.URL, e.Namespace)
		bus := durable(t, client, events.DurableOptions{Partitions: 2})
		sub := subscriber(t, bus, "g", events.SubscriberOptions{DrainTimeout: events.NoLimit})
		started := make(chan struct{})
		must(t, notes.Handle(sub, "*", func(ctx context.Context, e events.Event[note]) error {
			close(started)
			<-ctx.Done()
			return ctx.Err()
		}))
		done := make(chan error, 1)
		go func() { done <- sub.Run(context.Background()) }()
		<-sub.Ready()
		must(t, notes.Publish(t.Context(), bus, "a", note{}))
		<-started
		began := time.Now()
		must(t, client.Close())
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("Close took %v", d)
		}
		select {
		case err := <-done:
			must(t, err)
		case <-time.After(5 * time.Second):
			t.Fatal("Run did not end")
		}
	})
}

// Answers that are lost on their way do not bring a channel out of order: what they had read comes before what is read next.
func TestE4_LostAnswersKeepOrder(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	server := rig.Standalone(t)
	proxy := rig.NewProxy(t, server.Addr())
	shaky := durable(t, open(t, proxy.URL(), "app"), events.DurableOptions{Partitions: 1, Lease: 5 * time.Second})
	well := durable(t, open(t, server.URL(), "app"), events.DurableOptions{Partitions: 1, Lease: 5 * time.Second})
	var mu sync.Mutex
	next := map[string]int{}
	sub := subscriber(t, shaky, "g", events.SubscriberOptions{Backoff: soon})
	must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error {
		mu.Lock()
		defer mu.Unlock()
		if e.Data.N > next[e.Channel] {
			t.Errorf("%s: event %d was handled before %d", e.Channel, e.Data.N, next[e.Channel])
		}
		next[e.Channel] = max(next[e.Channel], e.Data.N+1)
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
		proxy.StallReplies() // turns are made, their answers get lost
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
}
