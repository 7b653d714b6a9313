package chaos_test

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// history is what the workers report, in the order of arrival.
type history struct {
	mu        sync.Mutex
	confirmed map[string]int // the last confirmed number per channel
	handled   map[string]*handlers
	holds     []hold
	fenced    map[string]*fencedCall // by call
	sessions  []sessionCall
	admitted  []time.Time
	facts     []string // stale, lost
	counts    map[string]int
	succeeded map[success]time.Time // begin of the last successful call
	failed    map[success]failure   // the last failed call
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
	return &history{confirmed: map[string]int{}, handled: map[string]*handlers{}, fenced: map[string]*fencedCall{},
		counts: map[string]int{}, succeeded: map[success]time.Time{}, failed: map[success]failure{}, quiet: map[int]bool{}}
}

// add adds a line of a worker.
func (h *history) add(worker int, line string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := &fields{rest: line}
	switch f.text() {
	case "p":
		if name, n := f.text(), f.int(); f.end() {
			h.confirmed[name] = max(h.confirmed[name], int(n))
		}
	case "h":
		if name, n, at := f.text(), f.int(), f.int(); f.end() {
			h.handle(name, begin{int(n), at})
		}
	case "l":
		if l := (hold{f.text(), f.int(), f.time(), f.time(), f.time()}); f.end() {
			h.holds = append(h.holds, l)
		}
	case "fence":
		if call, c := f.text(), (fencedCall{name: f.text(), token: f.int(), value: f.text(), called: f.int()}); f.end() {
			h.fenced[call] = &c
		}
	case "fenced":
		call, ok, value, returned := h.fenced[f.text()], f.bool(), f.text(), f.int()
		if f.failed = f.failed || call == nil; f.end() {
			call.ok, call.returned = ok, returned
			if call.token == 0 {
				call.value = value
			}
		}
	case "session":
		if c := (sessionCall{f.text(), f.text(), f.int(), f.int(), f.bool()}); f.end() {
			h.sessions = append(h.sessions, c)
		}
	case "a":
		if at := f.time(); f.end() {
			h.admitted = append(h.admitted, at)
		}
	case "ok":
		if pattern, began := f.text(), f.time(); f.end() {
			h.succeeded[success{worker, strings.Clone(pattern)}] = began
		}
	case "error":
		if pattern, text := strings.Clone(f.text()), strings.Clone(f.rest); !f.failed {
			h.failed[success{worker, pattern}] = failure{text, time.Now()}
		}
	case "n":
		if name, n := f.text(), f.int(); f.end() {
			h.counts[name] += int(n)
		}
	case "quiet":
		h.quiet[worker] = true
	case "stale", "lost":
		h.facts = append(h.facts, line)
	default:
		f.failed = true
	}
	if f.failed {
		h.bad = append(h.bad, line)
	}
}

// fields are the words of a line.
type fields struct {
	rest   string
	failed bool
}

func (f *fields) text() string {
	word, rest, _ := strings.Cut(f.rest, " ")
	f.failed = f.failed || word == ""
	f.rest = rest
	return word
}

func (f *fields) int() int64 {
	n, err := strconv.ParseInt(f.text(), 10, 64)
	f.failed = f.failed || err != nil
	return n
}

func (f *fields) bool() bool {
	b, err := strconv.ParseBool(f.text())
	f.failed = f.failed || err != nil
	return b
}

func (f *fields) time() time.Time { return time.UnixMicro(f.int()) }

// end reports whether the line had exactly these words.
func (f *fields) end() bool {
	f.failed = f.failed || f.rest != ""
	return !f.failed
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

// order returns how many handlers began for an event that had been handled, and the events that
// were first handled before an earlier event of their channel.
func (h *history) order() (again int, early []string) {
	for channel, all := range h.handled {
		slices.SortStableFunc(all.began, func(a, b begin) int { return cmp.Compare(a.at, b.at) })
		last, ahead := 0, map[int]bool{} // all up to last were handled, and those ahead of it
		for _, b := range all.began {
			switch {
			case b.n <= last || ahead[b.n]:
				again++
			case b.n == last+1:
				for last++; ahead[last+1]; last++ {
					delete(ahead, last+1)
				}
			default:
				ahead[b.n] = true
				at := time.UnixMicro(b.at).UTC().Format(clock)
				early = append(early, fmt.Sprintf("%s: %d after %d at %s", channel, b.n, last, at))
			}
		}
	}
	return again, early
}

// failer is the part of a test that the check uses.
type failer interface {
	Helper()
	Errorf(format string, args ...any)
}

// check fails the test for each violation of a guarantee.
func (h *history) check(t failer) *report {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	r := &report{counts: h.counts, holds: len(h.holds), admitted: len(h.admitted)}
	for _, last := range h.confirmed {
		r.confirmed += last
	}
	if r.lost = h.unhandled(); r.lost > 0 {
		t.Errorf("%d of %d confirmed events were not handled: %s", r.lost, r.confirmed, some(h.unhandledChannels()))
	}
	again, early := h.order()
	r.again = again
	if r.early = len(early); r.early > 0 {
		t.Errorf("handled before an earlier event of the channel: %s", some(early))
	}
	h.checkRegisters(t, r)
	var stale []string
	for _, fact := range h.facts {
		if strings.HasPrefix(fact, "stale") {
			stale = append(stale, fact)
		} else {
			r.lostSessions++
		}
	}
	if r.stale = len(stale); r.stale > 0 {
		t.Errorf("old values: %s", some(stale))
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

// checkRegisters checks the histories of locks and sessions.
func (h *history) checkRegisters(t failer, r *report) {
	t.Helper()
	var wrong []string
	r.overlaps, wrong = checkLocks(h.holds)
	if r.tokens = len(wrong); r.tokens > 0 {
		t.Errorf("tokens that do not grow with the grants: %s", some(wrong))
	}
	r.fenced = len(h.fenced)
	wrong, r.refused = checkFence(h.holds, h.fenced)
	if r.unfenced = len(wrong); r.unfenced > 0 {
		t.Errorf("values that a lock protects: %s", some(wrong))
	}
	r.sessions = len(h.sessions)
	wrong, r.returned = checkSessions(h.sessions)
	if r.undead = len(wrong); r.undead > 0 {
		t.Errorf("revoked sessions: %s", some(wrong))
	}
}

func some(list []string) string {
	if len(list) > 10 {
		return fmt.Sprintf("%s … (%d)", strings.Join(list[:10], "; "), len(list))
	}
	return strings.Join(list, "; ")
}
