package events_test

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// Failed channels are parked in polls of at most 1 MiB, and a larger event alone. The order stays:
// later polls park at the front of the list.
func TestParkedBodiesOfOneTurnAreBounded(t *testing.T) {
	t.Parallel()
	for name, sizes := range map[string][]int{
		"small":               slices.Repeat([]int{100}, 500),
		"300 KiB":             slices.Repeat([]int{300 << 10}, 20),
		"larger than a poll":  {2 << 20, 10, 2 << 20, 3 << 20, 10, 10},
		"one large, the last": append(slices.Repeat([]int{10}, 100), 5<<20),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			polls := events.ParkPolls(sizes)
			var order []int
			for i, poll := range polls {
				bytes := 0
				for _, n := range poll {
					bytes += sizes[n]
				}
				if bytes > 1<<20 && len(poll) > 1 || len(poll) == 0 {
					t.Errorf("poll %d of %d moves %d bytes of %d events: want at most 1 MiB, or one event", i, len(polls), bytes, len(poll))
				}
				order = slices.Concat(poll, order)
			}
			for i, n := range order {
				if i != n {
					t.Fatalf("event %d is parked in place %d: %v", n, i, polls)
				}
			}
			if len(order) != len(sizes) {
				t.Errorf("%d of %d events were parked", len(order), len(sizes))
			}
		})
	}
}

// Dead letters are read within 1 MiB per command: as many as 1 MiB holds with MaxBytes each, and a
// larger one alone.
func TestDeadLettersAreListedWithinABudget(t *testing.T) {
	t.Parallel()
	const letters = 8
	for most, atOnce := range map[int]int{4 << 20: 1, 512 << 10: 2, 64 << 10: letters + 1} {
		t.Run(strconv.Itoa(most), func(t *testing.T) {
			t.Parallel()
			server := rig.Standalone(t)
			bus := durable(t, open(t, server.URL(), "app"), events.DurableOptions{Partitions: 1, MaxBytes: most})
			sub := subscriber(t, bus, "g", events.SubscriberOptions{})
			must(t, notes.Handle(sub, "*", func(context.Context, events.Event[note]) error { return events.Discard(nil) }))
			stop := run(t, sub)
			for n := range letters {
				must(t, notes.Publish(t.Context(), bus, "a", note{N: n, Text: strings.Repeat("x", most/2)}))
			}
			rig.Eventually(t, 10*time.Second, "the dead letters", func() bool { return sub.Stats().DeadLettered == letters })
			stop()
			before := commandCalls(server, "xrange")
			all, err := bus.DeadLetters("g").List(t.Context(), "", 16)
			must(t, err)
			if n, want := commandCalls(server, "xrange")-before, letters/atOnce+1; len(all) != letters || n != want {
				t.Errorf("%d of %d dead letters in %d commands, want %d", len(all), letters, n, want)
			}
			if n, err := bus.DeadLetters("g").RedriveAll(t.Context()); n != letters || err != nil {
				t.Errorf("%d of %d dead letters were redriven: %v", n, letters, err)
			}
		})
	}
}

// An event that exceeds the budget of a reply comes alone in the first reply, if the budget is 1
// MiB and the event has at most 2 MiB. Else the reply has its id and size, and a later poll fetches
// its body.
func TestALargeEventTravelsAlone(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	keys := []string{"stream", "lease:g", "retry:g", "tries:g", "delayed", "dead:g", "parked:g:", "inbox:g:", "cut",
		"group:g", "heads:g", "later"}
	for _, c := range []struct {
		name        string
		first, size int // bytes of an event before it, and of the event
		budget      int
		alone       bool
	}{
		{"a little larger", 0, mib + 300, mib, true},
		{"twice as large", 0, 2 * mib, mib, true},
		{"larger than that", 0, 2*mib + 1, mib, false},
		{"behind another event", 10, mib + 300, mib, false},
		{"a budget that is not whole", 0, mib + 300, mib - 1, false},
	} {
		for _, place := range []string{"entry", "parked event", "what an owner left"} {
			t.Run(c.name+", "+place, func(t *testing.T) {
				t.Parallel()
				r := newScriptRunner(rig.Shared(t).Conn(t), rig.Prefix(t)+":")
				r.set(1_760_000_000_000_000)
				r.eval("register", []string{"group:g", "stream", "groups"}, "g", "0")
				r.eval("acquire", []string{"lease:g", "group:g", "stream", "groups"}, "t", "600000", "g", "0")
				sizes := []int{c.first, c.size}
				if c.first == 0 {
					sizes = sizes[1:]
				}
				for i, size := range sizes {
					body, id := strings.Repeat("x", size), strconv.Itoa(i+1)+"-0"
					if place == "parked event" {
						r.conn.CLI("RPUSH", r.prefix+"parked:g:p", id+" e1 "+body)
					} else {
						r.conn.CLI("XADD", r.prefix+"stream", id, "c", "a", "e1", body)
					}
				}
				r.conn.CLI("ZADD", r.prefix+"retry:g", "1", "p")
				var reply string
				if place == "what an owner left" {
					r.conn.CLI("XREADGROUP", "GROUP", "g", "owner", "STREAMS", r.prefix+"stream", ">")
					reply = r.eval("recover", []string{"stream", "lease:g", "retry:g", "tries:g", "parked:g:"}, "t",
						"600000", "g", "0-0", "128", "32", strconv.Itoa(c.budget), "4")
				} else {
					reply = r.eval("poll", keys, "t", "600000", "g", "128", "32", "100", "0", "keep", "0", "1",
						strconv.Itoa(c.budget), "4", "0")
				}
				if whole := strings.Contains(reply, strings.Repeat("x", c.size)); whole != c.alone {
					t.Errorf("the reply has %d bytes: the event is in it: %v, want %v", len(reply), whole, c.alone)
				}
			})
		}
	}
}

// A poll that acknowledges an event and reads the next one runs at most 11 commands in its script.
// The server spends most of a poll's time on them.
func TestAPollOfOneEventRunsFewCommands(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	r := newScriptRunner(server.Conn(t), rig.Prefix(t)+":")
	r.set(1_760_000_000_000_000)
	r.eval("register", []string{"group:g", "stream", "groups"}, "g", "0")
	r.eval("acquire", []string{"lease:g", "group:g", "stream", "groups"}, "t", "600000", "g", "0")
	poll := func(number string, operations ...string) string {
		return r.eval("poll", []string{"stream", "lease:g", "retry:g", "tries:g", "delayed", "dead:g", "parked:g:", "inbox:g:", "cut",
			"group:g", "heads:g", "later"}, append([]string{"t", "600000", "g", "128", "32", "100", "0", "keep", "1", number,
			"1048576", "4", "0"}, operations...)...)
	}
	r.conn.CLI("XADD", r.prefix+"stream", "1-0", "c", "a", "e1", "first")
	poll("1")
	r.conn.CLI("XADD", r.prefix+"stream", "2-0", "c", "a", "e1", "second")

	before := server.CommandStats()
	if reply := poll("2", "A", "1", "1-0"); !strings.Contains(reply, "second") {
		t.Fatalf("the poll did not read the event: %s", reply)
	}
	n := int64(0)
	for name, calls := range server.CommandStats() {
		if made := calls - before[name]; made > 0 && name != "info" && !strings.HasPrefix(name, "eval") {
			t.Logf("%s: %d", name, made)
			n += made
		}
	}
	if n > 11 {
		t.Errorf("the poll ran %d commands, want at most 11", n)
	}
}
