package events_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

func live(t testing.TB, url, namespace string, opts events.LiveOptions) *events.Live {
	t.Helper()
	bus, err := events.NewLive(open(t, url, namespace), opts)
	must(t, err)
	return bus
}

// A blocked handler delays neither other channels nor commands. The queue is bounded, and every
// event is either handled or reported as dropped.
func TestE5_OverflowIsReported(t *testing.T) {
	t.Parallel()
	for _, policy := range []events.Overflow{events.DropOldest, events.DropNewest} {
		t.Run(fmt.Sprint(policy), func(t *testing.T) {
			t.Parallel()
			client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
			bus, err := events.NewLive(client, events.LiveOptions{})
			must(t, err)
			var reported, gaps atomic.Int64
			onGap := func(g events.Gap) {
				if g.Reason != events.GapOverflow {
					t.Errorf("gap %+v", g)
				}
				gaps.Add(1)
				reported.Add(g.Missed)
			}
			sub := subscriber(t, bus, "s", events.SubscriberOptions{Queue: 100, Overflow: policy, Concurrency: 4, OnGap: onGap})
			release, blocked := make(chan struct{}), make(chan struct{})
			got := newLog()
			must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error {
				if e.Channel == "blocked" && e.Data.N == 0 {
					close(blocked)
					<-release
				}
				got.add(e.Channel, e.Data.N)
				return nil
			}))
			run(t, sub)
			ctx := t.Context()
			must(t, notes.Publish(ctx, bus, "blocked", note{N: 0}))
			<-blocked
			const n = 1000
			for i := range n {
				must(t, notes.Publish(ctx, bus, "blocked", note{N: i + 1}))
				if i%10 == 0 {
					must(t, client.Ping(ctx)) // answered while the handler is blocked
				}
			}
			for i := range 50 { // another channel is handled although the queue is full
				must(t, notes.Publish(ctx, bus, "free", note{N: i}))
				if policy == events.DropOldest {
					rig.Eventually(t, 5*time.Second, "a free event", func() bool { return len(got.of("free")) == i+1 })
				}
			}
			rig.Eventually(t, 5*time.Second, "all events have arrived", func() bool { return sub.Stats().Received == n+51 })
			close(release)
			rig.Eventually(t, 10*time.Second, "handled + reported = published", func() bool {
				return int64(got.total())+reported.Load() == n+51
			})
			if gaps.Load() == 0 || sub.Stats().Dropped != reported.Load() {
				t.Errorf("%d gaps, %d reported, %d dropped", gaps.Load(), reported.Load(), sub.Stats().Dropped)
			}
			all := got.of("blocked")
			for i := 1; i < len(all); i++ {
				if all[i] <= all[i-1] {
					t.Fatalf("order: %v", all)
				}
			}
			if newest := all[len(all)-1]; policy == events.DropOldest && newest != n ||
				policy == events.DropNewest && newest > 200 {
				t.Errorf("with policy %d the last handled is %d", policy, newest)
			}
		})
	}
}

func TestE5_OverflowDisconnects(t *testing.T) {
	t.Parallel()
	bus := live(t, rig.Shared(t).URL(), rig.Prefix(t), events.LiveOptions{})
	sub := subscriber(t, bus, "s", events.SubscriberOptions{QueueBytes: 2000, Overflow: events.Disconnect, Concurrency: 1})
	release := make(chan struct{})
	must(t, notes.Handle(sub, "a", func(context.Context, events.Event[note]) error { <-release; return nil }))
	done := make(chan error, 1)
	go func() { done <- sub.Run(t.Context()) }()
	<-sub.Ready()
	for range 50 {
		must(t, notes.Publish(t.Context(), bus, "a", note{}))
	}
	time.AfterFunc(50*time.Millisecond, func() { close(release) })
	select {
	case err := <-done:
		if !errors.Is(err, events.ErrOverflow) {
			t.Errorf("Run: %v, want ErrOverflow", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Run did not end")
	}
}

// A lost connection is one gap, and the subscriptions are restored automatically.
func TestE5_ReconnectIsOneGap(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	proxy := rig.NewProxy(t, server.Addr())
	namespace := rig.Prefix(t)
	bus := live(t, proxy.URL(), namespace, events.LiveOptions{})
	direct := live(t, server.URL(), namespace, events.LiveOptions{})
	var reconnects atomic.Int64
	sub := subscriber(t, bus, "s", events.SubscriberOptions{OnGap: func(g events.Gap) {
		if g.Reason == events.GapReconnect {
			reconnects.Add(1)
		}
	}})
	got := newLog()
	must(t, notes.Handle(sub, "*", func(_ context.Context,
		e events.Event[note]) error {
		got.add(e.Channel, e.Data.N)
		return nil
	}))
	for i := range 20 {
		must(t, notes.Handle(sub, fmt.Sprint("exact", i), func(context.Context, events.Event[note]) error { return nil }))
	}
	run(t, sub)
	for cut := range 3 {
		proxy.Cut()
		rig.Eventually(t, 10*time.Second, "a gap", func() bool { return reconnects.Load() == int64(cut)+1 })
		before := len(got.of("a"))
		must(t, notes.Publish(t.Context(), direct, "a", note{}))
		rig.Eventually(t, 10*time.Second, "an event after the cut", func() bool { return len(got.of("a")) > before })
	}
	if n := reconnects.Load(); n != 3 {
		t.Errorf("%d gaps for 3 cuts", n)
	}
}

// The probe finds a connection that looks healthy but delivers nothing, and the connection is
// replaced.
func TestE5_ProbeFindsASilentConnection(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	namespace := rig.Prefix(t)
	bus := live(t, server.URL(), namespace, events.LiveOptions{ProbeInterval: 100 * time.Millisecond,
		ProbeTimeout: 300 * time.Millisecond})
	var probes atomic.Int64
	sub := subscriber(t, bus, "s", events.SubscriberOptions{OnGap: func(g events.Gap) {
		if g.Reason == events.GapProbe {
			probes.Add(1)
		}
	}})
	got := newLog()
	must(t, notes.Handle(sub, "*", func(_ context.Context,
		e events.Event[note]) error {
		got.add(e.Channel, e.Data.N)
		return nil
	}))
	run(t, sub)
	rig.Eventually(t, 10*time.Second, "probes", func() bool { return sub.Stats().Probes > 3 })
	if s := sub.Stats(); s.ProbesFailed != 0 || s.Gaps != 0 {
		t.Errorf("a healthy connection: %+v", s)
	}
	disarm := rig.Arm(t, bus.Points(), "probe", func(string) error { return errors.New("lost") })
	rig.Eventually(t, 10*time.Second, "a gap", func() bool { return probes.Load() >= 1 })
	disarm()
	must(t, notes.Publish(t.Context(), bus, "a", note{}))
	rig.Eventually(t, 10*time.Second, "an event", func() bool { return len(got.of("a")) == 1 })
}

// A half-open connection stays open, accepts data and delivers nothing. The probe finds it, the
// loss is reported, and the subscription is restored on a new connection.
func TestE5_ProbeFindsAHalfOpenConnection(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	server := rig.Shared(t)
	proxy := rig.NewProxy(t, server.Addr())
	namespace := rig.Prefix(t)
	bus := live(t, proxy.URL(), namespace, events.LiveOptions{ProbeInterval: 100 * time.Millisecond, ProbeTimeout: time.Second})
	direct := live(t, server.URL(), namespace, events.LiveOptions{})
	var probes, others atomic.Int64
	sub := subscriber(t, bus, "s", events.SubscriberOptions{OnGap: func(g events.Gap) {
		if g.Reason == events.GapProbe {
			probes.Add(1)
		} else {
			others.Add(1)
		}
	}})
	got := newLog()
	must(t, notes.Handle(sub, "*", func(_ context.Context,
		e events.Event[note]) error {
		got.add(e.Channel, e.Data.N)
		return nil
	}))
	run(t, sub)
	must(t, notes.Publish(t.Context(), direct, "a", note{N: 0}))
	got.inOrder(t, "a", 1)
	rig.Eventually(t, 10*time.Second, "a probe", func() bool { return sub.Stats().Probes > 0 })
	if n := proxy.Deafen(); n != 1 {
		t.Fatalf("%d connections have subscriptions, want 1", n)
	}
	rig.Eventually(t, 20*time.Second, "a gap", func() bool { return probes.Load() == 1 })
	must(t, notes.Publish(t.Context(), direct, "a", note{N: 1}))
	got.inOrder(t, "a", 2)
	if others.Load() != 0 || probes.Load() != 1 {
		t.Errorf("%d gaps of a probe and %d others, want one", probes.Load(), others.Load())
	}
}

// One subscriber has 10,000 channels. Memory does not grow, and the order is kept. The test
// measures the heap of the process, so it does not run in parallel.
func TestLiveManyChannels(t *testing.T) {
	rig.Need(t, rig.TierAll)
	bus := live(t, rig.Shared(t).URL(), rig.Prefix(t), events.LiveOptions{})
	sub := subscriber(t, bus, "s", events.SubscriberOptions{Queue: 1 << 17})
	const channels, rounds = 10_000, 3
	var mu sync.Mutex
	next := make([]int, channels)
	var total, wrong atomic.Int64
	for c := range channels {
		must(t, notes.Handle(sub, fmt.Sprint("c", c), func(_ context.Context, e events.Event[note]) error {
			mu.Lock()
			defer mu.Unlock()
			if next[c] != e.Data.N {
				wrong.Add(1)
			}
			next[c]++
			total.Add(1)
			return nil
		}))
	}
	run(t, sub)
	var before, after runtime.MemStats
	for round := range rounds {
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for c := w; c < channels; c += 8 {
					if err := notes.Publish(t.Context(), bus, fmt.Sprint("c", c), note{N: round}); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		rig.Eventually(t, 30*time.Second, "a round", func() bool { return total.Load() == int64(channels*(round+1)) })
		runtime.GC()
		if round == 0 {
			runtime.ReadMemStats(&before)
		}
	}
	runtime.ReadMemStats(&after)
	if wrong.Load() != 0 {
		t.Errorf("%d events out of order", wrong.Load())
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
		t.Errorf("the heap grew by %d bytes over %d events", grown, channels*(rounds-1))
	}
}

// With the option Foreign, plain JSON of other programs is handled.
func TestLiveForeign(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	namespace := rig.Prefix(t)
	bus := live(t, server.URL(), namespace, events.LiveOptions{Foreign: true})
	strict := live(t, server.URL(), namespace, events.LiveOptions{})
	type plain struct {
		UserID int `json:"user_id"`
		Data   note
		N      int
	}
	got := newLog()
	sub := subscriber(t, bus, "s", events.SubscriberOptions{})
	must(t, events.NewTopic[note]("joined").Handle(sub, "users:1",
		func(_ context.Context, e events.Event[note]) error { got.add("data", e.Data.N); return nil }))
	must(t, events.NewTopic[plain]("left").Handle(sub, "users:1", func(_ context.Context, e events.Event[plain]) error {
		got.add("whole", e.Data.UserID)
		return nil
	}))
	run(t, sub)
	var errs atomic.Int64
	other := subscriber(t, strict, "o", events.SubscriberOptions{OnError: func(_ context.Context,
		_ events.Event[[]byte], err error) {
		errs.Add(1)
	}})
	must(t, notes.Handle(other, "users:1", func(context.Context, events.Event[note]) error { return nil }))
	run(t, other)
	server.CLI("SPUBLISH", bus.ServerChannel("users:1"), `{"type":"joined","user_id":7,"data":{"n":3}}`)
	server.CLI("SPUBLISH", bus.ServerChannel("users:1"), `{"type":"left","user_id":7}`)
	server.CLI("SPUBLISH", bus.ServerChannel("users:1"), `not JSON`)
	rig.Eventually(t, 10*time.Second, "plain events",
		func() bool { return len(got.of("data")) == 1 && len(got.of("whole")) == 1 })
	if got.of("data")[0] != 3 || got.of("whole")[0] != 7 {
		t.Errorf("got %v %v", got.of("data"), got.of("whole"))
	}
	rig.Eventually(t, 10*time.Second, "errors", func() bool { return errs.Load() == 3 })
}
