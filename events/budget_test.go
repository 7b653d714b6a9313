package events_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// commandCalls is how many calls of a command a server has executed, inside scripts too.
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

	count := func() (scripts, polls, others int) { // at one moment, because the polls continue
		stats := server.CommandStats()
		return int(stats["evalsha"]), int(stats["xreadgroup"]), int(stats["xread"] + stats["xpending"] + stats["xtrim"])
	}
	warm := commandCalls(server, "xreadgroup") // the polls after the last event
	rig.Eventually(t, 20*time.Second, "the trimming after the last events",
		func() bool { return commandCalls(server, "xreadgroup") >= warm+6*owned })
	began := time.Now()
	scripts, polls, others := count()
	rig.Eventually(t, 60*time.Second, "some quarters of the lease",
		func() bool { return commandCalls(server, "xreadgroup") >= polls+quarters*owned })
	scriptsAfter, pollsAfter, othersAfter := count()
	elapsed := time.Since(began)
	polls = pollsAfter - polls

	members := groups * (int(elapsed/(lease/5)) + 2)
	if most := polls + members + 2; scriptsAfter-scripts > most {
		t.Errorf("%d scripts for %d polls of partitions and %d looks at the members", scriptsAfter-scripts, polls, members)
	}
	if most := owned * (int(elapsed/(lease/4)) + 2); polls > most {
		t.Errorf("%d polls in %v, the most is %d", polls, elapsed, most)
	}
	if othersAfter-others > owned {
		t.Errorf("%d commands besides scripts' reads in %d idle quarters of %d partitions", othersAfter-others, quarters, owned)
	}
	t.Logf("%d partitions in %d groups: %.0f scripts/s with a lease of %v", partitions, groups,
		float64(scriptsAfter-scripts)/elapsed.Seconds(), lease)
	must(t, notes.Publish(t.Context(), bus, "0", note{N: 1})) // the push is still armed
	rig.Eventually(t, 20*time.Second, "an event after idleness", func() bool { return len(got.of("0")) == 2*groups })
}
