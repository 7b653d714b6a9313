package events_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

// publishLarge stores events of a channel with size bytes of data, in batches that the client can
// send.
func publishLarge(t testing.TB, client *redstart.Client, bus *events.Durable, channel string, from, n, size int) {
	t.Helper()
	r, filler := rigclient.Redis(t, client), strings.Repeat("x", size)
	for n > 0 {
		var cmds []rueidis.Completed
		for range min(n, max(1, 4<<20/size)) {
			text := events.EnvelopeText(fmt.Sprint(from), "note", channel, fmt.Sprintf(`{"n":%d,"text":"%s"}`, from, filler))
			cmds = append(cmds, r.B().Xadd().Key(bus.StreamOf(channel)).Id("*").FieldValue().FieldValue("c",
				channel).FieldValue("e1", text).Build())
			from++
		}
		n -= len(cmds)
		for _, reply := range r.DoMulti(t.Context(), cmds...) {
			must(t, reply.Error())
		}
	}
}

// slowest returns the longest run time of a command on the server, in µs.
func slowest(t testing.TB, server *rig.Server, command string) (longest int64) {
	t.Helper()
	client, err := rueidis.NewClient(rueidis.MustParseURL(server.URL()))
	must(t, err)
	defer client.Close()
	log, err := client.Do(t.Context(), client.B().SlowlogGet().Count(1000).Build()).ToArray()
	must(t, err)
	for _, line := range log {
		entry, err := line.ToArray()
		must(t, err)
		took, err := entry[2].AsInt64()
		must(t, err)
		args, err := entry[3].AsStrSlice()
		must(t, err)
		if strings.EqualFold(args[0], command) {
			longest = max(longest, took)
		}
	}
	return longest
}

// Events of 1 MiB, some of which fail, do not block the server. No script of the bus takes half of
// the time of a script that fetches 64 of the events. The subscriber has handled small events
// before, so its next read asks for 128.
//
// The server's slow log includes the time of other processes. So a round with an interrupted script
// is repeated: a script that fetches too much is slow in every round.
func TestE4_LargeEventsDoNotHoldTheServer(t *testing.T) {
	rig.Need(t, rig.TierAll)
	t.Parallel()
	const rounds = 3
	for round := range rounds {
		ours, control := largeEvents(t)
		t.Logf("the longest script of the bus took %v, fetching 64 events takes %v", ours, control)
		if ours <= control/2 {
			return
		}
		if round == rounds-1 {
			t.Errorf("in each of %d rounds a script blocked the server, in the last one for %v; "+
				"fetching 64 events takes %v", rounds, ours, control)
		}
	}
}

// largeEvents handles events of 1 MiB. It returns the run times of the longest script, and of a
// script that fetches 64 of the events.
func largeEvents(t *testing.T) (ours, control time.Duration) {
	t.Helper()
	const small, large, size = 300, 96, 1 << 20
	server := rig.Standalone(t, "--slowlog-log-slower-than", "1000", "--slowlog-max-len", "1000")
	client := open(t, server.URL(), rig.Prefix(t))
	bus := durable(t, client, events.DurableOptions{Partitions: 1, MaxBytes: 2 << 20, MaxLen: 10_000})
	sub := subscriber(t, bus, "g", events.SubscriberOptions{Backoff: soon, Concurrency: 4, Start: events.FromBeginning()})
	got := newLog()
	var failed sync.Map
	must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error {
		if _, again := failed.LoadOrStore(e.Position, true); e.Data.N%10 == 3 && !again {
			return errors.New("downstream is failing")
		}
		got.add(e.Channel, e.Data.N)
		return nil
	}))
	publishMany(t, client, bus, "small", 0, small)
	for c := range 4 {
		publishLarge(t, client, bus, fmt.Sprint("large:", c), 0, large/4, size)
	}
	stop := run(t, sub)
	got.inOrder(t, "small", small)
	for c := range 4 {
		got.inOrder(t, fmt.Sprint("large:", c), large/4)
	}
	stop()
	slowestOurs := slowest(t, server, "EVALSHA")

	text := `local n = 0 for _, e in ipairs(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 64)) do n = n + #e[2][4] end return n`
	if n := server.CLI("XLEN", bus.StreamOf("large:0")); n != strconv.Itoa(small+large) {
		t.Fatalf("the stream has %s events, want all", n)
	}
	server.CLI("EVAL", text, "1", bus.StreamOf("large:0"))
	slowestControl := slowest(t, server, "EVAL")
	server.CLI("FLUSHALL")
	return time.Duration(slowestOurs) * time.Microsecond, time.Duration(slowestControl) * time.Microsecond
}

// An event that exceeds all budgets of a process is handled.
func TestE1_AnyEventBelowMaxBytesFlows(t *testing.T) {
	rig.Need(t, rig.TierAll)
	t.Parallel()
	server := rig.Standalone(t)
	client := open(t, server.URL(), rig.Prefix(t))
	bus := durable(t, client, events.DurableOptions{Partitions: 1, MaxBytes: 64 << 20,
		Lease: time.Minute}) // the lease must not end on a slow machine
	sub := subscriber(t, bus, "g", events.SubscriberOptions{Backoff: soon, Start: events.FromBeginning()})
	got := newLog()
	must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error {
		if e.Data.N == 1 && e.Attempt == 1 {
			return errors.New("once")
		}
		got.add(e.Channel, e.Data.N)
		return nil
	}))
	publishLarge(t, client, bus, "a", 0, 2, 17<<20) // both are more than the held events of a partition may be
	publishMany(t, client, bus, "b", 0, 10)
	publishLarge(t, client, bus, "a", 2, 1, 9<<20) // more than the bodies of a partition may be
	run(t, sub)
	got.inOrder(t, "b", 10)
	got.inOrder(t, "a", 3)
}

// No reply has more bodies than its budget: of entries, of parked events, and of events that an
// owner left.
func TestRepliesAreBoundedInBytes(t *testing.T) {
	t.Parallel()
	const n, size, budget = 40, 10_000, 65_536
	server := rig.Shared(t)
	r := newScriptRunner(server.Conn(t), rig.Prefix(t)+":")
	r.set(1_760_000_000_000_000)
	r.eval("register", []string{"group:g", "stream", "groups"}, "g", "0")
	r.eval("acquire", []string{"lease:g", "group:g", "stream", "groups"}, "t", "600000", "g", "0")
	body := strings.Repeat("x", size)
	for i := range n {
		r.conn.CLI("XADD", r.prefix+"stream", fmt.Sprint(i+1, "-0"), "c", "a", "e1", body)
		r.conn.CLI("RPUSH", r.prefix+"parked:g:p", fmt.Sprint(n+i+1, "-0 e1 ", body))
	}
	r.conn.CLI("ZADD", r.prefix+"retry:g", "1", "p")
	keys := []string{"stream", "lease:g", "retry:g", "tries:g", "delayed", "dead:g", "parked:g:", "inbox:g:", "cut",
		"group:g", "heads:g", "later"}
	step := func(poll, budget int, ops ...string) string {
		return r.eval("poll", keys, append([]string{"t", "600000", "g", "128", "32", "100", "0", "keep", "0",
			strconv.Itoa(poll), strconv.Itoa(budget), "4", "0"}, ops...)...)
	}
	check := func(what, reply string, least int) {
		t.Helper()
		if bodies := strings.Count(reply, body); len(reply) > budget+n*100 || bodies < least {
			t.Errorf("%s: %d bytes with %d bodies, the budget is %d", what, len(reply), bodies, budget)
		}
	}
	check("parked events and entries", step(1, budget), budget/size)
	check("entries", step(2, budget), budget/size)
	check("more of a parked list", step(3, budget, "M", "p", "0", "32"), budget/size)
	check("what an owner left", r.eval("recover", []string{"stream", "lease:g", "retry:g", "tries:g", "parked:g:"},
		"t", "600000", "g", "0-0", "128", "32", strconv.Itoa(budget), "4"), budget/size)
	check("no budget", step(4, 0, "M", "p", "0", "32"), 0)

	for i := range n { // delayed events are moved in pieces
		number := fmt.Sprintf("%012d", i+1)
		r.conn.CLI("ZADD", r.prefix+"delayed", "1", fmt.Sprint(number, " 1:d", i))
		r.conn.CLI("HSET", r.prefix+"later", fmt.Sprint("1:d", i), fmt.Sprint(number, " ", body))
	}
	step(5, budget)
	if left := r.conn.CLI("ZCARD", r.prefix+"delayed"); left == "0" || left == strconv.Itoa(n) {
		t.Errorf("%s of %d delayed events are left, the budget allows some", left, n)
	}
}

// One call of the trim script reads few bodies if a group has read a part of the cut entries, and
// the caller repeats it.
func TestTrimmingIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	const n, most, size, budget = 40, 5, 10_000, 65_536
	server := rig.Shared(t)
	r := newScriptRunner(server.Conn(t), rig.Prefix(t)+":")
	r.set(1_760_000_000_000_000)
	for i := range n {
		r.conn.CLI("XADD", r.prefix+"stream", fmt.Sprint(i+1, "-0"), "c", "a", "e1", strings.Repeat("x", size))
	}
	for group, read := range map[string]string{"g": "1", "h": "36"} { // the script must read the ids to count the events that g misses
		r.eval("register", []string{"group:" + group, "stream", "groups"}, group, "0", "")
		r.conn.CLI("XREADGROUP", "GROUP", group, "owner", "COUNT", read, "STREAMS", r.prefix+"stream", ">")
	}
	sum := 0
	for calls, more := 1, true; more; calls++ {
		parts := strings.Fields(r.eval("trim", []string{"stream", "groups", "cut"}, "0", strconv.Itoa(most), "1000",
			"2", strconv.Itoa(budget)))
		cut, err := strconv.Atoi(parts[0])
		must(t, err)
		sum += cut
		more = parts[1] == "1"
		if looked := cut * size; looked > budget+4*size || calls == 1 && !more {
			t.Errorf("call %d cut %d events of %d bytes, the budget is %d; more: %v", calls, cut, size, budget, more)
		}
	}
	if missed := r.conn.CLI("HGET", r.prefix+"cut", "g"); sum != n-most || missed != strconv.Itoa(sum-1) {
		t.Errorf("%d events were cut, want %d; the group missed %s", sum, n-most, missed)
	}
}

// A process holds at most 8 MiB of bodies of a partition, and one body for each running handler.
func TestHeldBodiesAreBounded(t *testing.T) {
	rig.Need(t, rig.TierAll)
	t.Parallel()
	const n, size, workers, limit = 600, 60_000, 4, 8 << 20
	client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
	bus := durable(t, client, events.DurableOptions{Partitions: 1})
	sub := subscriber(t, bus, "g", events.SubscriberOptions{Concurrency: workers, Start: events.FromBeginning()})
	release := make(chan struct{})
	must(t, notes.Handle(sub, "*", func(context.Context, events.Event[note]) error { <-release; return nil }))
	for c := range 10 {
		publishLarge(t, client, bus, fmt.Sprint("c", c), 0, n/10, size)
	}
	run(t, sub)
	most := 0
	rig.Eventually(t, time.Minute, "as many events as a partition may hold", func() bool {
		most = max(most, bus.HeldBytes())
		return sub.Stats().Held >= 500
	})
	close(release)
	rig.Eventually(t, time.Minute, "all events", func() bool { return sub.Stats().Handled == n })
	if most > limit+(workers+1)*(size+1000) || most < limit/2 {
		t.Errorf("%d bytes of bodies were held, the limit is %d and one body for each of %d handlers", most, limit, workers)
	}
}
