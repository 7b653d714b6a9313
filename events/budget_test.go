package events_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// commandCalls is how often a server was asked for a command, inside scripts too.
func commandCalls(server *rig.Server, command string) (n int) {
	for line := range strings.Lines(server.CLI("INFO", "commandstats")) {
		if _, rest, ok := strings.Cut(line, "cmdstat_"+command+":calls="); ok {
			n, _ = strconv.Atoi(rest[:strings.IndexByte(rest, ',')])
		}
	}
	return n
}

// An idle partition costs one script per quarter of the lease, and no other command.
func TestIdlePartitionsCostOneScriptPerQuarterLease(t *testing.T) {
	rig.Need(t, rig.TierAll)
	t.Parallel()
	const partitions, groups, lease, quarters = 64, 3, 2 * time.Second, 8
	const owned = partitions * groups
	server := rig.Standalone(t)
	client := open(t, server.URL(), rig.Prefix(t))
	bus := durable(t, client, events.DurableOptions{Partitions: partitions, Lease: lease})
	got := newLog()
	var subs []*events.Subscriber
	for g := range groups {
		sub := subscriber(t, bus, fmt.Sprint("g", g), events.SubscriberOptions{})
		must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error { got.add(e.Channel, e.Data.N); return nil }))
		run(t, sub)
		subs = append(subs, sub)
	}
	for c := range 4 * partitions {
		must(t, notes.Publish(t.Context(), bus, fmt.Sprint(c), note{}))
	}
	rig.Eventually(t, 20*time.Second, "every event and its acknowledgement", func() bool {
		held := int64(0)
		for _, sub := range subs {
			held += sub.Stats().Held
		}
		return got.total() == 4*owned && held == 0
	})

	count := func() (scripts, others int) {
		for _, command := range []string{"xread", "xpending", "xtrim", "xreadgroup"} {
			others += commandCalls(server, command)
		}
		return commandCalls(server, "evalsha"), others - commandCalls(server, "xreadgroup")
	}
	warm := commandCalls(server, "xreadgroup") // the turns after the last event
	rig.Eventually(t, 20*time.Second, "the trimming after the last events", func() bool { return commandCalls(server, "xreadgroup") >= warm+6*owned })
	scripts, others := count()
	began, turns := time.Now(), commandCalls(server, "xreadgroup")
	rig.Eventually(t, 60*time.Second, "some quarters of the lease", func() bool { return commandCalls(server, "xreadgroup") >= turns+quarters*owned })
	elapsed := time.Since(began)
	scriptsAfter, othersAfter := count()
	turns = commandCalls(server, "xreadgroup") - turns

	members := groups * (int(elapsed/(lease/5)) + 2)
	if most := turns + members + 2; scriptsAfter-scripts > most {
		t.Errorf("%d scripts for %d turns of partitions and %d looks at the members", scriptsAfter-scripts, turns, members)
	}
	if most := owned * (int(elapsed/(lease/4)) + 2); turns > most {
		t.Errorf("%d turns in %v, the most is %d", turns, elapsed, most)
	}
	if othersAfter-others > owned {
		t.Errorf("%d commands besides scripts' reads in %d idle quarters of %d partitions", othersAfter-others, quarters, owned)
	}
	t.Logf("%d partitions in %d groups: %.0f scripts/s with a lease of %v", partitions, groups, float64(scriptsAfter-scripts)/elapsed.Seconds(), lease)
	must(t, notes.Publish(t.Context(), bus, "0", note{N: 1})) // the push is still armed
	rig.Eventually(t, 20*time.Second, "an event after idleness", func() bool { return len(got.of("0")) == 2*groups })
}

// A channel that is 10,000 events behind does not slow the others of its partition: their latency is compared with that of the same
// events without it.
func TestE4_LongChannelLeavesRoom(t *testing.T) {
	rig.Need(t, rig.TierAll)
	t.Parallel()
	const behind, quick, workers = 10_000, 200, 4
	measure := func(backlog int) time.Duration {
		client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
		bus := durable(t, client, events.DurableOptions{Partitions: 1})
		sub := subscriber(t, bus, "g", events.SubscriberOptions{Concurrency: workers, Start: events.FromBeginning()})
		release, started := make(chan struct{}), make(chan struct{})
		var once sync.Once
		must(t, notes.Handle(sub, "slow", func(ctx context.Context, _ events.Event[note]) error {
			once.Do(func() { close(started) })
			select {
			case <-release:
			case <-ctx.Done():
			}
			return ctx.Err()
		}))
		handled := make(chan int, quick)
		must(t, notes.Handle(sub, "quick:*", func(_ context.Context, e events.Event[note]) error { handled <- e.Data.N; return nil }))
		if backlog > 0 {
			publishMany(t, client, bus, "slow", 0, backlog)
		}
		stop := run(t, sub)
		if backlog > 0 {
			<-started
		}
		var took []time.Duration
		for n := range quick {
			began := time.Now()
			must(t, notes.Publish(t.Context(), bus, fmt.Sprint("quick:", n%8), note{N: n}))
			select {
			case <-handled:
				took = append(took, time.Since(began))
			case <-time.After(20 * time.Second):
				t.Errorf("quick event %d waited 20 s with %d events behind: %+v", n, backlog, sub.Stats())
				close(release)
				stop()
				return time.Hour
			}
		}
		close(release)
		stop()
		slices.Sort(took)
		return took[len(took)*9/10]
	}
	control := measure(0)
	got := measure(behind)
	t.Logf("p90 of quick channels: %v, %v next to %d events behind", control, got, behind)
	if got > 4*control+time.Millisecond {
		t.Errorf("quick channels take %v next to a long channel, %v without it", got, control)
	}
}
