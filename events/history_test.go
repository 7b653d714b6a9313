package events_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// history is the history that the consumers of a chaos test wrote, checked line by line.
type history struct {
	published map[string]*atomic.Int64
	at        int // lines that were read
	channels  map[string]*channelHistory

	starts, early, overlaps, hasty, again int
	faults                                []string
}

// channelHistory is the history of one channel.
type channelHistory struct {
	next   int           // all events below have succeeded or were given up
	done   map[int]bool  // events from next on that have succeeded
	newest int64         // fence of the newest owner that has started a handler
	failed map[int]int64 // when an event's last attempt failed, µs
	tries  map[int]int   // attempts of an event that always fails
}

func newHistory(published map[string]*atomic.Int64) *history {
	h := &history{published: published, channels: map[string]*channelHistory{}}
	for channel := range published {
		h.channels[channel] = &channelHistory{done: map[int]bool{}, failed: map[int]int64{}, tries: map[int]int{}}
	}
	return h
}

func (h *history) total() (n int64) {
	for _, count := range h.published {
		n += count.Load()
	}
	return n
}

// advance passes events that are done. Before the event of a new start, and at the end, it also
// passes events that always fail and were given up. A consumer that dies may have counted one
// attempt that did not start, so one attempt less may be seen.
func (c *channelHistory) advance(channel string, before int) {
	for c.done[c.next] || c.next < before && poisoned(channel, c.next) && c.tries[c.next] >= chaosAttempts-1 {
		delete(c.done, c.next)
		c.next++
	}
}

// missing returns the number of published events that are not done.
func (h *history) missing() (n int64) {
	for channel, count := range h.published {
		c := h.channels[channel]
		c.advance(channel, int(count.Load()))
		n += max(count.Load()-int64(c.next), 0)
	}
	return n
}

// unhandled describes each channel that is behind: its first unhandled event and the number of its
// events.
func (h *history) unhandled() string {
	var behind []string
	for channel, count := range h.published {
		if next := int64(h.channels[channel].next); next < count.Load() {
			behind = append(behind, fmt.Sprintf("%v from %d of %d", channel, next, count.Load()))
		}
	}
	return strings.Join(behind, ", ")
}

// behind returns the first unhandled event of each channel that is behind.
func (h *history) behind() map[string]int {
	behind := map[string]int{}
	for channel, count := range h.published {
		if next := h.channels[channel].next; int64(next) < count.Load() {
			behind[channel] = next
		}
	}
	return behind
}

// given returns how many of the published events always fail.
func (h *history) given() (n int) {
	for channel, count := range h.published {
		for i := range int(count.Load()) {
			if poisoned(channel, i) {
				n++
			}
		}
	}
	return n
}

// read checks the lines that the consumers have written since the last call.
func (h *history) read(t *testing.T, server *rig.Server) {
	t.Helper()
	const page = 10_000
	for more := true; more; {
		text := strings.TrimSpace(server.CLI("LRANGE", chaosHistory, strconv.Itoa(h.at), strconv.Itoa(h.at+page-1)))
		if text == "" {
			return
		}
		n := 0
		for line := range strings.SplitSeq(text, "\n") {
			n++
			h.line(t, line)
		}
		more = n == page
	}
}

func (h *history) line(t *testing.T, line string) {
	t.Helper()
	h.at++
	var kind, channel string
	var n, attempt int
	var fence, at int64
	if _, err := fmt.Sscan(line, &kind, &channel, &n, &fence, &attempt, &at); err != nil {
		t.Fatalf("history line %q: %v", line, err)
	}
	h.apply(line, kind, channel, n, attempt, fence, at)
}

func (h *history) fault(count *int, format string, args ...any) {
	*count++
	if len(h.faults) < 10 {
		h.faults = append(h.faults, fmt.Sprintf(format, args...))
	}
}

func (h *history) apply(line, kind, channel string, n, attempt int, fence, at int64) {
	c := h.channels[channel]
	switch kind {
	case "S":
		h.starts++
		c.advance(channel, n)
		switch {
		case n > c.next:
			h.fault(&h.early, "early: %s: next is %d", line, c.next)
		case n < c.next || c.done[n]:
			h.again++
		}
		if last := c.failed[n]; last != 0 && at-last < chaosBackoff.Microseconds()-1000 {
			h.fault(&h.hasty, "hasty: %s: %d µs after the failure", line, at-last)
		}
		if fence < c.newest {
			h.fault(&h.overlaps, "an older owner starts: %s: fence %d has started", line, c.newest)
		}
		c.newest = max(c.newest, fence)
		c.tries[n] = max(c.tries[n], attempt)
	case "E", "F": // L: the handler's context ended first
		if fence < c.newest {
			h.fault(&h.overlaps, "overlap: %s: fence %d has started", line, c.newest)
		}
		if kind == "F" {
			c.failed[n] = at
			return
		}
		c.done[n] = true
		c.advance(channel, 0)
	}
}

// check compares the dead letters with the events that always fail, and reports faults.
func (h *history) check(t *testing.T, bus *events.Durable) {
	t.Helper()
	dead := map[string]int{}
	for after := ""; ; {
		page, err := bus.DeadLetters("g").List(t.Context(), after, 16)
		must(t, err)
		for _, l := range page {
			dead[l.Event.ID]++
			after = l.ID
		}
		if len(page) == 0 {
			break
		}
	}
	for channel, count := range h.published {
		for n := range int(count.Load()) {
			id := fmt.Sprint(channel, "-", n)
			if poisoned(channel, n) != (dead[id] > 0) || dead[id] > 1 {
				h.fault(&h.early, "event %s has %d dead letters", id, dead[id])
			}
		}
	}
	if len(h.faults) > 0 || h.missing() > 0 {
		t.Errorf("%d early, %d overlaps, %d before the backoff, %d missing:\n%s", h.early, h.overlaps, h.hasty,
			h.missing(), strings.Join(h.faults, "\n"))
	}
}

// The check of a history finds each kind of fault.
func TestHistoryFindsFaults(t *testing.T) {
	t.Parallel()
	type counts struct{ early, overlaps, hasty, again, missing int }
	for name, c := range map[string]struct {
		published int
		lines     string // kind, channel, event, fence, attempt, µs
		want      counts
	}{
		"in order":                        {2, "S c5 0 1 1 10;E c5 0 1 1 20;S c5 1 1 1 30;E c5 1 1 1 40", counts{}},
		"lost":                            {2, "S c5 0 1 1 10;E c5 0 1 1 20", counts{missing: 1}},
		"lost in between":                 {3, "S c5 0 1 1 10;E c5 0 1 1 20;S c5 2 1 1 30;E c5 2 1 1 40", counts{early: 1, missing: 2}},
		"early":                           {2, "S c5 1 1 1 10;E c5 1 1 1 20;S c5 0 1 1 30;E c5 0 1 1 40", counts{early: 1}},
		"two owners at once":              {1, "S c5 0 1 1 10;S c5 0 2 2 20;E c5 0 2 2 30;E c5 0 1 1 40", counts{overlaps: 1}},
		"the older owner ends later":      {1, "S c5 0 1 1 10;S c5 0 2 2 20;E c5 0 1 1 30;E c5 0 2 2 40", counts{overlaps: 1}},
		"the older owner starts":          {1, "S c5 0 2 1 10;S c5 0 1 1 20;L c5 0 1 1 25;E c5 0 2 1 30", counts{overlaps: 1}},
		"the older owner's context ended": {1, "S c5 0 1 1 10;L c5 0 1 1 15;S c5 0 2 2 20;E c5 0 2 2 30", counts{}},
		"handled again":                   {1, "S c5 0 1 1 10;E c5 0 1 1 20;S c5 0 2 2 30;E c5 0 2 2 40", counts{again: 1}},
		"a retry before the backoff":      {1, "S c5 0 1 1 10;F c5 0 1 1 20;S c5 0 1 2 40000;E c5 0 1 2 40010", counts{hasty: 1}},
		"a retry":                         {1, "S c5 0 1 1 10;F c5 0 1 1 20;S c5 0 1 2 60000;E c5 0 1 2 60010", counts{}},
		"early behind an event that fails": {22, upTo(20) +
			"S c0 20 1 1 10;F c0 20 1 1 20;S c0 21 1 1 30;E c0 21 1 1 40", counts{early: 1, missing: 2}},
		"given up": {22, upTo(20) +
			"S c0 20 1 1 10;F c0 20 1 1 20;S c0 20 1 2 60000;F c0 20 1 2 60010;" +
			"S c0 20 1 3 130000;F c0 20 1 3 130010;S c0 21 1 1 130030;E c0 21 1 1 130040", counts{}},
		"given up at the end": {21, upTo(20) +
			"S c0 20 1 1 10;F c0 20 1 1 20;S c0 20 1 2 60000;F c0 20 1 2 60010;S c0 20 1 3 130000;F c0 20 1 3 130010", counts{}},
	} {
		count := new(atomic.Int64)
		count.Store(int64(c.published))
		channel := strings.Fields(c.lines)[1]
		h := newHistory(map[string]*atomic.Int64{channel: count})
		for line := range strings.SplitSeq(c.lines, ";") {
			h.line(t, line)
		}
		if got := (counts{h.early, h.overlaps, h.hasty, h.again, int(h.missing())}); got != c.want {
			t.Errorf("%s: %+v, want %+v: %q", name, got, c.want, h.faults)
		}
	}
}

// upTo returns the history of the first n events of the channel with events that always fail.
func upTo(n int) (lines string) {
	for i := range n {
		lines += fmt.Sprintf("S %s %d 1 1 1;E %s %d 1 1 2;", chaosPoison, i, chaosPoison, i)
	}
	return lines
}
