package events_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// A handler's context ends with the lease, also while its process waits for another reply with a
// long command timeout.
func TestE2_LeaseEndsTheHandlerWhileTheConsumerWaits(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	proxy := rig.NewProxy(t, server.Addr())
	namespace := rig.Prefix(t)
	opts := events.DurableOptions{Partitions: 1, Lease: time.Second}
	first := durable(t, openWithin(t, 20*time.Second, proxy.URL(), namespace), opts)
	second := durable(t, open(t, server.URL(), namespace), opts)
	started, ended := make(chan struct{}, 1), make(chan time.Time, 1)
	a := subscriber(t, first, "g", events.SubscriberOptions{DrainTimeout: time.Second, Backoff: soon})
	must(t, notes.Handle(a, "*", func(ctx context.Context, e events.Event[note]) error {
		if e.Channel == "slow" {
			started <- struct{}{}
			<-ctx.Done()
			ended <- time.Now()
		}
		return ctx.Err()
	}))
	run(t, a)
	for n := range 30 { // so that the consumer has work
		must(t, notes.Publish(t.Context(), second, fmt.Sprint("quick", n), note{}))
	}
	must(t, notes.Publish(t.Context(), second, "slow", note{}))
	<-started
	again := make(chan time.Time, 1)
	b := subscriber(t, second, "g", events.SubscriberOptions{Backoff: soon})
	must(t, notes.Handle(b, "*", func(_ context.Context, e events.Event[note]) error {
		if e.Channel == "slow" {
			again <- time.Now()
		}
		return nil
	}))
	run(t, b)
	proxy.StallReplies()
	end, next := arrives(t, "the end of the first handler", ended), arrives(t, "the second handler", again)
	if !next.After(end) {
		t.Errorf("the second owner began %v before the first owner's context ended", end.Sub(next))
	}
	proxy.Resume()
}

// In a cluster with one dead primary, a consumer takes the partitions of the other primaries. It is
// new, or it has registered the group with all partitions before.
func TestE2_HealthyPartitionsPassOnNextToADeadPrimary(t *testing.T) {
	t.Parallel()
	for name, registered := range map[string]bool{"new": false, "registered": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			passOnNextToADeadPrimary(t, registered)
		})
	}
}

func passOnNextToADeadPrimary(t *testing.T, registered bool) {
	t.Helper()
	cluster := rig.NewCluster(t, rig.NoReplicas())
	const partitions = 12
	opts := events.DurableOptions{Partitions: partitions, Lease: time.Second}
	bus := durable(t, openWithin(t, 500*time.Millisecond, cluster.URL(), "app"), opts)
	counts := map[int]int{}
	metaOwner := cluster.Owner(rig.Slot("app:events:bus:{bus}"))
	dead := cluster.Primaries()[0]
	if dead == metaOwner {
		dead = cluster.Primaries()[1]
	}
	channels := map[int]string{}
	for i := 0; len(channels) < partitions; i++ {
		c := fmt.Sprint("c", i)
		if p := bus.PartitionOf(c); channels[p] == "" {
			channels[p] = c
		}
	}
	healthy := 0
	for p, c := range channels {
		if cluster.Owner(rig.Slot(bus.StreamOf(c))) != dead {
			healthy++
			counts[p]++
		}
	}
	sub, _ := counting(t, bus, nil)
	stop := run(t, sub)
	if !registered {
		stop()
		dead.Kill()
	}
	next := durable(t, openWithin(t, 500*time.Millisecond, cluster.URL(), "app"), opts)
	again, _ := counting(t, next, nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- again.Run(ctx) }()
	if registered {
		arrives(t, "the second consumer", again.Ready())
		dead.Kill()
		stop()
	}
	rig.Eventually(t, 20*time.Second, "all healthy partitions", func() bool { return again.Stats().Partitions == int64(healthy) })
	cancel()
	if err := arrives(t, "the end of Run", ended); err != nil {
		t.Error(err)
	}
	if healthy == 0 || healthy == partitions {
		t.Errorf("%d of %d partitions are healthy: the test shows nothing", healthy, partitions)
	}
}

// A refusal by the server's ACL ends Run with an error, and a key of the wrong type is logged.
func TestRunSaysWhyItDoesNotReceive(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	server.CLI("ACL", "SETUSER", "nostreams", "on", ">pw", "~*", "&*", "+@all", "-xgroup")
	url := strings.Replace(server.URL(), "redis://", "redis://nostreams:pw@", 1)
	sub, _ := counting(t, durable(t, open(t, url, "acl"), events.DurableOptions{Partitions: 2}), nil)
	if err := sub.Run(t.Context()); !errors.Is(err, redstart.ErrDenied) {
		t.Errorf("Run without permission for XGROUP: %v", err)
	}
}

// An owner whose lease ended on its own clock stays expired, although a reply renews the lease at
// the same moment. No event fails because the handlers' context has ended.
func TestE1_ExpiredOwnerFailsNoEvent(t *testing.T) {
	t.Parallel()
	bus := durable(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), events.DurableOptions{Partitions: 1, Lease: time.Second})
	sub := subscriber(t, bus, "g", events.SubscriberOptions{MaxAttempts: 3, Backoff: soon})
	got := newLog()
	must(t, notes.Handle(sub, "*", func(ctx context.Context, e events.Event[note]) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		got.add(e.Channel, e.Data.N)
		return nil
	}))
	run(t, sub)
	must(t, notes.Publish(t.Context(), bus, "a", note{N: 0}))
	got.inOrder(t, "a", 1)
	rig.Eventually(t, 10*time.Second, "the acknowledgement",
		func() bool { g, err := bus.Group(t.Context(), "g"); return err == nil && g.Drained() })
	bus.ExpireAsPollsReturn()
	for n := range 20 {
		must(t, notes.Publish(t.Context(), bus, "a", note{N: n + 1}))
	}
	got.inOrder(t, "a", 21)
	if n, err := bus.DeadLetters("g").Count(t.Context()); n != 0 || err != nil {
		t.Errorf("%d dead letters, %v", n, err)
	}
}

// A queue whose worker left at the end of the lease goes on when a late reply renews the lease.
func TestE7_RenewalResumesAQueueWithoutAWorker(t *testing.T) {
	t.Parallel()
	if stage := events.LeaveAsTheLeaseEnds(); stage != "runnable" {
		t.Errorf("the queue is %s after the renewal", stage)
	}
}
