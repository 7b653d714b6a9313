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

// history is what the consumers of a chaos test wrote, checked line by line.
type history struct {
	published map[string]*atomic.Int64
	at        int // lines that were read
	channels  map[string]*channelHistory

	starts, early, overlaps, hasty, again int
	faults                                []string
}

// channelHistory is the history of one channel.
type channelHistory struct {
	next    int           // all events below have succeeded or were given up
	done    map[int]bool  // from next on
	running map[int64]int // the event that an owner's handler is on, by fence
	failed  map[int]int64 // when an event's last attempt failed, µs
}

func newHistory(published map[string]*atomic.Int64) *history {
	h := &history{published: published, channels: map[string]*channelHistory{}}
	for channel := range published {
		h.channels[channel] = &channelHistory{done: map[int]bool{}, running: map[int64]int{}, failed: map[int]int64{}}
	}
	return h
}

func (h *history) total() (n int64) {
	for _, count := range h.published {
		n += count.Load()
	}
	return n
}

// missing is how many published events are not done.
func (h *history) missing() (n int64) {
	for channel, count := range h.published {
		c := h.channels[channel]
		n += max(count.Load()-int64(c.next), 0)
	}
	return n
}

func (h *history) read(t *testing.T, server *rig.Server) {
	t.Helper()
	text := strings.TrimSpace(server.CLI("LRANGE", chaosHistory, strconv.Itoa(h.at), "-1"))
	if text == "" {
		return
	}
	for line := range strings.SplitSeq(text, "\n") {
		h.at++
		var kind, channel string
		var n, attempt int
		var fence, at int64
		if _, err := fmt.Sscan(line, &kind, &channel, &n, &fence, &attempt, &at); err != nil {
			t.Fatalf("history line %q: %v", line, err)
		}
		h.apply(line, kind, channel, n, attempt, fence, at)
	}
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
		for c.next < n && poisoned(channel, c.next) && c.failed[c.next] != 0 { // given up: DeadLetters is compared later
			c.next++
		}
		switch {
		case n > c.next:
			h.fault(&h.early, "early: %s: next is %d", line, c.next)
		case n < c.next || c.done[n]:
			h.again++
		}
		for other := range c.running { // a handler of an older owner never ends if it was killed: it is an overlap if it ends with success
			if other > fence {
				h.fault(&h.overlaps, "an older owner starts: %s: fence %d started before", line, other)
			}
		}
		if last := c.failed[n]; last != 0 && at-last < chaosBackoff.Microseconds()-1000 {
			h.fault(&h.hasty, "hasty: %s: %d µs after the failure", line, at-last)
		}
		c.running[fence] = n
	case "E", "F":
		for other := range c.running {
			if other > fence {
				h.fault(&h.overlaps, "overlap: %s: fence %d has started", line, other)
			}
		}
		delete(c.running, fence)
		if kind == "F" {
			c.failed[n] = at
			return
		}
		c.done[n] = true
		for c.done[c.next] || poisoned(channel, c.next) && c.failed[c.next] != 0 && h.published[channel].Load() == int64(c.next+1) {
			delete(c.done, c.next)
			c.next++
		}
	case "L":
		delete(c.running, fence)
	}
}

// check compares the dead letters with the events that always fail, and reports what is wrong.
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
		t.Errorf("%d early, %d overlaps, %d before the backoff, %d missing:\n%s", h.early, h.overlaps, h.hasty, h.missing(), strings.Join(h.faults, "\n"))
	}
}
