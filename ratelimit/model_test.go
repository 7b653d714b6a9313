package ratelimit_test

import (
	"math/big"
	"slices"
	"sort"
	"time"

	"github.com/redstart-go/redstart/ratelimit"
)

// The models define what the scripts must do. They follow the definitions and not the scripts: GCRA
// with a theoretical arrival time in rationals, the log as a list, the windows as maps. Times are
// µs.

// model is the model of one rule.
type model interface {
	// admit reports whether n tokens fit at now.
	admit(now, n int64) bool
	charge(now, n int64)
	refund(now, n int64)
	// look returns what a Result has: remaining tokens, and µs until all tokens are available.
	look(now int64) (remaining, reset int64)
	// settle is what a call other than a peek does even if it is refused: it moves a state in the
	// future, which remains after the clock stepped back, to the present.
	settle(now int64)
	clone() model
}

func newModel(a ratelimit.Algorithm, r ratelimit.Rule) model {
	window := r.Window.Microseconds()
	burst := r.Burst
	if burst == 0 {
		burst = r.Limit
	}
	switch a {
	case ratelimit.GCRA:
		return &gcraModel{increment: big.NewRat(window, r.Limit), burst: burst, tat: new(big.Rat)}
	case ratelimit.SlidingLog:
		return &logModel{limit: r.Limit, window: window, longest: window}
	case ratelimit.SlidingWindow:
		return &windowModel{limit: r.Limit, window: window, slides: true}
	default:
		return &windowModel{limit: r.Limit, window: window}
	}
}

// retry returns the first µs at which n tokens fit, by doubling and then halving. Admission is
// monotone in time.
func retry(rules []model, now, n int64) int64 {
	fits := func(in int64) bool {
		return !slices.ContainsFunc(rules, func(m model) bool { return !m.admit(now+in, n) })
	}
	if fits(0) {
		return 0
	}
	hi := int64(1)
	for !fits(hi) {
		hi *= 2
	}
	lo := hi / 2
	for lo+1 < hi {
		if mid := (lo + hi) / 2; fits(mid) {
			hi = mid
		} else {
			lo = mid
		}
	}
	return hi
}

type gcraModel struct {
	increment *big.Rat // µs per token
	burst     int64
	tat       *big.Rat
}

func (m *gcraModel) tolerance(n int64) *big.Rat {
	return new(big.Rat).Mul(m.increment, big.NewRat(n, 1))
}

// outstanding returns how far the theoretical arrival time is ahead, at most the burst.
func (m *gcraModel) outstanding(now int64) *big.Rat {
	d := new(big.Rat).Sub(m.tat, big.NewRat(now, 1))
	if d.Sign() < 0 {
		return new(big.Rat)
	}
	if most := m.tolerance(m.burst); d.Cmp(most) > 0 {
		return most
	}
	return d
}

func (m *gcraModel) admit(now, n int64) bool {
	after := new(big.Rat).Add(m.outstanding(now), m.tolerance(n))
	return after.Cmp(m.tolerance(m.burst)) <= 0
}

func (m *gcraModel) charge(now, n int64) {
	m.tat = new(big.Rat).Add(big.NewRat(now, 1), new(big.Rat).Add(m.outstanding(now), m.tolerance(n)))
}

func (m *gcraModel) refund(now, n int64) {
	if m.charge(now, -n); m.tat.Cmp(big.NewRat(now, 1)) <= 0 {
		m.tat = new(big.Rat) // as if unused, also for a clock that steps back
	}
}

func (m *gcraModel) settle(now int64) {
	if d := new(big.Rat).Sub(m.tat, big.NewRat(now, 1)); d.Cmp(m.tolerance(m.burst)) > 0 {
		m.tat = new(big.Rat).Add(big.NewRat(now, 1), m.tolerance(m.burst))
	}
}

func (m *gcraModel) look(now int64) (remaining, reset int64) {
	d := m.outstanding(now)
	left := new(big.Rat).Quo(new(big.Rat).Sub(m.tolerance(m.burst), d), m.increment)
	return new(big.Int).Div(left.Num(), left.Denom()).Int64(), ceil(d)
}

func (m *gcraModel) clone() model {
	c := *m
	return &c
}

func ceil(r *big.Rat) int64 {
	q, rem := new(big.Int).DivMod(r.Num(), r.Denom(), new(big.Int))
	if rem.Sign() > 0 {
		q.Add(q, big.NewInt(1))
	}
	return q.Int64()
}

type logModel struct {
	limit, window, longest int64
	entries                []logEntry // in order
}

type logEntry struct{ at, n int64 }

func (m *logModel) newest() int64 {
	if len(m.entries) == 0 {
		return 0
	}
	return m.entries[len(m.entries)-1].at
}

// at returns the time that counts: never before the newest entry.
func (m *logModel) at(now int64) int64 { return max(now, m.newest()) }

// seen returns the log as a call at now finds it.
func (m *logModel) seen(now int64) []logEntry {
	if m.newest()-now <= m.longest {
		return m.entries
	}
	sum := int64(0)
	for _, e := range m.entries {
		if e.at > m.newest()-m.longest {
			sum += e.n
		}
	}
	return []logEntry{{now, sum}}
}

func (m *logModel) used(now int64) (sum, last int64) {
	entries := m.seen(now)
	at := now
	if len(entries) > 0 {
		at = max(now, entries[len(entries)-1].at)
	}
	for _, e := range entries {
		if e.at > at-m.window {
			sum += e.n
			last = e.at
		}
	}
	return sum, last
}

func (m *logModel) admit(now, n int64) bool {
	used, _ := m.used(now)
	return used+n <= m.limit
}

func (m *logModel) settle(now int64) { m.entries = m.seen(now) }

func (m *logModel) charge(now, n int64) {
	m.settle(now)
	m.entries = append(m.entries, logEntry{m.at(now), n})
}

func (m *logModel) refund(now, n int64) {
	m.settle(now)
	at, any := m.at(now), false
	for len(m.entries) > 0 && m.newest() > at-m.longest && (n > 0 || m.entries[len(m.entries)-1].n == 0) {
		last := &m.entries[len(m.entries)-1]
		taken := min(n, last.n)
		n -= taken
		any = true
		if rest := last.n - taken; rest > 0 {
			*last = logEntry{at, rest}
			return
		}
		m.entries = m.entries[:len(m.entries)-1]
	}
	if any {
		m.entries = append(m.entries, logEntry{at, 0})
	}
}

func (m *logModel) look(now int64) (remaining, reset int64) {
	used, last := m.used(now)
	if used > 0 {
		reset = last + m.window - now
	}
	return max(0, m.limit-used), reset
}

func (m *logModel) clone() model {
	c := *m
	c.entries = slices.Clone(m.entries)
	return &c
}

// windowModel counts per window, by the window's end.
type windowModel struct {
	limit, window int64
	slides        bool
	counts        map[int64]int64
	newest        int64 // end of the newest window with a state
}

func (m *windowModel) end(now int64) int64 { return now - now%m.window + m.window }

// seen returns the state as a call at now finds it: the end of the window, its count, and the count
// of the previous one.
func (m *windowModel) seen(now int64) (end, cur, prev int64) {
	end = m.end(now)
	switch {
	case m.counts == nil || m.newest < end:
		return end, 0, m.counts[end-m.window]
	case m.newest > end+m.window:
		cur = m.counts[m.newest]
		if m.slides {
			cur = min(m.limit, cur+m.counts[m.newest-m.window])
		}
		return end + m.window, cur, 0
	}
	return m.newest, m.counts[m.newest], m.counts[m.newest-m.window]
}

func (m *windowModel) admit(now, n int64) bool {
	end, cur, prev := m.seen(now)
	if !m.slides {
		return cur+n <= m.limit
	}
	overlap := new(big.Int).Mul(big.NewInt(prev), big.NewInt(min(end-now, m.window)))
	room := new(big.Int).Mul(big.NewInt(m.limit-cur-n), big.NewInt(m.window))
	return overlap.Cmp(room) <= 0
}

func (m *windowModel) settle(now int64) {
	if m.counts != nil && m.newest > m.end(now)+m.window {
		m.put(m.seen(now))
	}
}

func (m *windowModel) put(end, cur, prev int64) {
	m.newest = end
	m.counts = map[int64]int64{end: cur, end - m.window: prev}
	if cur == 0 && (!m.slides || prev == 0) {
		m.counts = nil // the script deletes it
	}
}

func (m *windowModel) charge(now, n int64) {
	end, cur, prev := m.seen(now)
	m.put(end, cur+n, prev)
}

func (m *windowModel) refund(now, n int64) {
	end, cur, prev := m.seen(now)
	m.put(end, max(0, cur-n), prev)
}

func (m *windowModel) look(now int64) (remaining, reset int64) {
	end, cur, prev := m.seen(now)
	for m.admit(now, remaining+1) {
		remaining++
	}
	switch {
	case cur > 0 && m.slides:
		reset = end + m.window - now
	case cur > 0 || prev > 0 && m.slides:
		reset = end - now
	}
	return remaining, reset
}

func (m *windowModel) clone() model { c := *m; return &c }

// planModel is several rules: all or none.
type planModel struct {
	names []string
	rules []model
	limit []int64
}

func newPlanModel(a ratelimit.Algorithm, names []string, rules []ratelimit.Rule) *planModel {
	p := &planModel{names: names}
	longest := time.Duration(0)
	for _, r := range rules {
		p.rules = append(p.rules, newModel(a, r))
		p.limit = append(p.limit, r.Limit)
		longest = max(longest, r.Window)
	}
	for _, m := range p.rules {
		if l, ok := m.(*logModel); ok {
			l.longest = longest.Microseconds()
		}
	}
	return p
}

// call is AllowN (n > 0), Peek (0) or Refund (< 0).
func (p *planModel) call(now, n int64) ratelimit.Result {
	ask := max(1, n)
	rules := slices.Clone(p.rules)
	for i := range rules {
		if n == 0 { // returns what a charge would find, and changes nothing
			rules[i] = rules[i].clone()
		}
		rules[i].settle(now)
	}
	wait := retry(rules, now, ask)
	for _, m := range rules {
		switch {
		case n < 0:
			m.refund(now, -n)
		case n > 0 && wait == 0:
			m.charge(now, n)
		}
	}
	if n < 0 {
		return ratelimit.Result{}
	}
	// the first µs at which more is available, without other calls in the meantime
	next := func(m model) int64 {
		remaining, reset := m.look(now)
		if reset == 0 {
			return 0
		}
		return int64(sort.Search(int(reset), func(in int) bool {
			more, _ := m.look(now + int64(in))
			return more > remaining
		}))
	}
	best := -1
	var result ratelimit.Result
	var longest int64
	for i, m := range rules {
		remaining, reset := m.look(now)
		own := int64(0)
		if wait > 0 {
			own = retry([]model{m}, now, ask)
		}
		if best >= 0 && (own < longest || own == longest && (wait > 0 || remaining >= result.Remaining)) {
			continue
		}
		best, longest = i, own
		result = ratelimit.Result{
			Allowed: wait == 0, Rule: p.names[i], Limit: p.limit[i], Remaining: remaining,
			RetryAfter: time.Duration(wait) * time.Microsecond,
			NextAfter:  time.Duration(next(m)) * time.Microsecond,
			ResetAfter: time.Duration(reset) * time.Microsecond,
		}
	}
	return result
}
