package chaos_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// history is what the workers report, in the order of arrival.
type history struct {
	mu        sync.Mutex
	confirmed map[string]int // the last confirmed number per channel
	handled   map[string]*handlers
	holds     []hold
	admitted  []time.Time
	facts     []string // stale, undead, lost
	counts    map[string]int
	succeeded map[string]time.Time // worker and pattern → begin of the last successful call
	quiet     map[int]bool
	bad       []string // lines that mean nothing
}

// handlers are the handlers of a channel.
type handlers struct {
	began []begin
	seen  map[int]bool // numbers
}

type begin struct {
	n  int
	at int64 // µs; lines of two workers can arrive in another order
}

// hold is the time for which a worker counted a lock as held.
type hold struct {
	name                      string
	token                     int64
	requested, granted, ended time.Time
}

func newHistory() *history {
	return &history{confirmed: map[string]int{}, handled: map[string]*handlers{}, counts: map[string]int{},
		succeeded: map[string]time.Time{}, quiet: map[int]bool{}}
}

// add adds a line of a worker.
func (h *history) add(worker int, line string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	kind, rest, _ := strings.Cut(line, " ")
	var name string
	var n int
	var t [3]int64
	var token int64
	var err error
	switch kind {
	case "p":
		if _, err = fmt.Sscan(rest, &name, &n); err == nil {
			h.confirmed[name] = max(h.confirmed[name], n)
		}
	case "h":
		if _, err = fmt.Sscan(rest, &name, &n, &t[0]); err == nil {
			h.handle(name, begin{n, t[0]})
		}
	case "l":
		if _, err = fmt.Sscan(rest, &name, &token, &t[0], &t[1], &t[2]); err == nil {
			h.holds = append(h.holds, hold{name, token, time.UnixMicro(t[0]), time.UnixMicro(t[1]), time.UnixMicro(t[2])})
		}
	case "a":
		if _, err = fmt.Sscan(rest, &t[0]); err == nil {
			h.admitted = append(h.admitted, time.UnixMicro(t[0]))
		}
	case "ok":
		if _, err = fmt.Sscan(rest, &name, &t[0]); err == nil {
			h.succeeded[fmt.Sprint(worker, " ", name)] = time.UnixMicro(t[0])
		}
	case "n":
		if _, err = fmt.Sscan(rest, &name, &n); err == nil {
			h.counts[name] += n
		}
	case "quiet":
		h.quiet[worker] = true
	case "stale", "undead", "lost":
		h.facts = append(h.facts, line)
	default:
		err = fmt.Errorf("unknown")
	}
	if err != nil {
		h.bad = append(h.bad, line)
	}
}

func (h *history) handle(channel string, b begin) {
	all := h.handled[channel]
	if all == nil {
		all = &handlers{seen: map[int]bool{}}
		h.handled[channel] = all
	}
	all.began = append(all.began, b)
	all.seen[b.n] = true
}

// unhandled returns how many confirmed events were not handled.
func (h *history) unhandled() (n int) {
	for channel, last := range h.confirmed {
		n += last
		if all := h.handled[channel]; all != nil {
			for seen := range all.seen {
				if seen <= last {
					n--
				}
			}
		}
	}
	return n
}

// order returns how many handlers began for an event that had been handled, and the handlers that
// began before an earlier event of their channel was handled.
func (h *history) order() (again int, early []string) {
	for channel, all := range h.handled {
		slices.SortStableFunc(all.began, func(a, b begin) int { return cmp.Compare(a.at, b.at) })
		last := 0
		for _, b := range all.began {
			switch {
			case b.n <= last:
				again++
			case b.n == last+1:
				last = b.n
			default:
				early = append(early, fmt.Sprintf("%s: %d after %d", channel, b.n, last))
			}
		}
	}
	return again, early
}

// patterns are the calls whose success each worker reports.
var patterns = []string{"publish", "handle", "lock", "session", "limit", "delete", "cache"}

// all reports whether a call of each pattern of a worker, which began after since, has succeeded.
// Handlers run where the partitions are, so one worker is enough for them.
func (h *history) all(worker int, since time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, pattern := range patterns {
		if pattern != "handle" && !h.succeeded[fmt.Sprint(worker, " ", pattern)].After(since) {
			return false
		}
	}
	for worker := range workers {
		if h.succeeded[fmt.Sprint(worker, " handle")].After(since) {
			return true
		}
	}
	return false
}

// check fails the test for each violation of a guarantee.
func (h *history) check(t *testing.T) *report {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	r := &report{counts: h.counts, holds: len(h.holds), admitted: len(h.admitted)}
	for _, last := range h.confirmed {
		r.confirmed += last
	}
	if r.lost = h.unhandled(); r.lost > 0 {
		t.Errorf("%d of %d confirmed events were not handled", r.lost, r.confirmed)
	}
	again, early := h.order()
	r.again = again
	if r.early = len(early); r.early > 0 {
		t.Errorf("handled before an earlier event of the channel: %s", some(early))
	}
	var wrong []string
	r.overlaps, wrong = checkLocks(h.holds)
	if r.tokens = len(wrong); r.tokens > 0 {
		t.Errorf("tokens that do not grow with the grants: %s", some(wrong))
	}
	for _, fact := range h.facts {
		switch kind, _, _ := strings.Cut(fact, " "); kind {
		case "stale":
			r.stale++
		case "undead":
			r.undead++
		case "lost":
			r.lostSessions++
		}
	}
	if r.stale+r.undead > 0 {
		t.Errorf("old values and revoked sessions: %s", some(h.facts))
	}
	if len(h.bad) > 0 {
		t.Errorf("lines of workers that mean nothing: %s", some(h.bad))
	}
	slices.SortFunc(h.admitted, time.Time.Compare)
	if n := len(h.admitted); n > 0 {
		r.limit = rate*int(h.admitted[n-1].Sub(h.admitted[0])/time.Second+1) + rate
	}
	return r
}

// checkLocks returns how often two workers held a lock at the same time, and the pairs of grants
// whose tokens contradict their order. Two holders at the same time are a stated limit (K1): a
// paused process does not know that its lease is over. Its token is then lower, so the resource
// refuses its writes. A token that is not higher than that of an earlier grant would end this
// protection (K2).
func checkLocks(holds []hold) (overlaps int, wrong []string) {
	byName := map[string][]hold{}
	for _, h := range holds {
		byName[h.name] = append(byName[h.name], h)
	}
	for name, all := range byName {
		slices.SortFunc(all, func(a, b hold) int { return cmp.Or(a.granted.Compare(b.granted), cmp.Compare(a.token, b.token)) })
		var newest hold // the grant with the highest token so far
		var last hold   // the hold that ends last so far
		seen := map[int64]bool{}
		for _, h := range all {
			if seen[h.token] {
				wrong = append(wrong, fmt.Sprintf("%s: two grants have the token %d", name, h.token))
			}
			seen[h.token] = true
			// Of two requests that overlapped, either can have been granted first.
			if h.token < newest.token && newest.granted.Before(h.requested) {
				wrong = append(wrong, fmt.Sprintf("%s: token %d was requested after the grant of %d", name, h.token, newest.token))
			}
			if last.ended.After(h.granted) {
				overlaps++
			}
			if h.token > newest.token {
				newest = h
			}
			if h.ended.After(last.ended) {
				last = h
			}
		}
	}
	return overlaps, wrong
}

func some(list []string) string {
	if len(list) > 10 {
		return fmt.Sprintf("%s … (%d)", strings.Join(list[:10], "; "), len(list))
	}
	return strings.Join(list, "; ")
}

// Each violation is found in a history that has it, and in no other.
func TestTheCheckFindsViolations(t *testing.T) {
	t.Parallel()
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	held := func(token int64, requested, granted, ended int) hold {
		return hold{"x", token, at(requested), at(granted), at(ended)}
	}
	for _, c := range []struct {
		name            string
		holds           []hold
		overlaps, wrong int
	}{
		{"one after the other", []hold{held(1, 0, 1, 5), held(2, 3, 6, 9)}, 0, 0},
		{"two holders, fenced", []hold{held(1, 0, 1, 50), held(2, 3, 6, 9)}, 1, 0},
		{"requests overlap, order of tokens open", []hold{held(2, 0, 1, 2), held(1, 0, 3, 4)}, 0, 0},
		{"a later grant with a lower token", []hold{held(5, 0, 1, 2), held(4, 3, 4, 5)}, 0, 1},
		{"the same token twice", []hold{held(5, 0, 1, 2), held(5, 3, 4, 5)}, 0, 1},
	} {
		overlaps, wrong := checkLocks(c.holds)
		if overlaps != c.overlaps || len(wrong) != c.wrong {
			t.Errorf("%s: %d overlaps, %v", c.name, overlaps, wrong)
		}
	}

	h := newHistory()
	for _, line := range []string{"p c 1", "p c 2", "p c 3", "h c 3 30", "h c 1 20", "h c 1 10", "nonsense", "p c x"} {
		h.add(0, line)
	}
	again, early := h.order()
	if h.unhandled() != 1 || again != 1 || len(early) != 1 || len(h.bad) != 2 {
		t.Errorf("%d unhandled, %d again, early %v, bad %v", h.unhandled(), again, early, h.bad)
	}
}
