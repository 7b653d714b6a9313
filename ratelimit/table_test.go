package ratelimit_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/redstart-go/redstart/ratelimit"
)

// fact is one refusal by Redis that was not contradicted since.
type fact struct {
	cost         int64
	asked, retry time.Duration
}

// tableModel is what the denied-key cache may know about a key, and what it must know.
type tableModel struct {
	facts []fact
	held  *fact         // the fact that the cache has
	asked time.Duration // when a caller last asked Redis again
}

// may reports whether a denial with this RetryAfter is right, and young enough or being checked.
func (m *tableModel) may(n int64, now, retry time.Duration) bool {
	for _, f := range m.facts {
		if f.cost <= n && f.asked+f.retry-now == retry && retry > 0 &&
			(now < f.asked+ratelimit.AskAfter || m.asked >= f.asked+ratelimit.AskAfter &&
				now < f.asked+ratelimit.AskAfter+ratelimit.AskGrace) {
			return true
		}
	}
	return false
}

// must reports whether the cost must be denied without another question.
func (m *tableModel) must(n int64, now time.Duration) bool {
	f := m.held
	return f != nil && f.cost <= n && now < f.asked+min(f.retry, ratelimit.AskAfter)
}

func (m *tableModel) refused(f fact) {
	m.facts = append(m.facts, f)
	if h := m.held; h == nil || h.cost >= f.cost || h.asked+h.retry <= f.asked || f.asked >= h.asked+ratelimit.AskAfter {
		m.held = &f
	} // the existing fact covers more
}

// admitted removes a fact that an admission of n tokens contradicts.
func (m *tableModel) admitted(n int64) {
	m.facts = slices.DeleteFunc(m.facts, func(f fact) bool { return f.cost <= n })
	if m.held != nil && m.held.cost <= n {
		m.held = nil
	}
}

// The cache runs next to its model in virtual time. It never denies what Redis' answers do not
// refuse, returns the exact time of these answers, asks again within a second, and always denies
// what was refused just now.
func TestR4_DeniedKeysEqualTheirModel(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	refused, asked := 0, 0
	for round := range rounds(40) {
		names, most := 24, 20*time.Millisecond
		if round%4 == 0 { // tables grow, and are cleared
			names, most = 4000, 400*time.Microsecond
		}
		before := refused
		table, models := ratelimit.NewDeniedKeys(), map[string]*tableModel{}
		now := time.Duration(rng.Int64N(int64(time.Hour)))
		for range 2000 * max(1, names/400) {
			now += time.Duration(rng.Int64N(int64(most)))
			plan, name, n := rng.IntN(2), fmt.Sprint("k", rng.IntN(names)), 1+rng.Int64N(4)
			key := fmt.Sprint(plan, " ", name)
			m := models[key]
			if m == nil {
				m = &tableModel{asked: -time.Hour}
				models[key] = m
			}
			switch rng.IntN(12) {
			case 0:
				table.Forget(name)
				delete(models, "0 "+name)
				delete(models, "1 "+name)
			case 1:
				table.Admitted(plan, name, n)
				m.admitted(n)
			case 2, 3:
				f := fact{n, now, time.Duration(1 + rng.Int64N(int64(3*time.Second)))}
				table.Refused(plan, name, f.cost, f.asked, f.retry)
				m.refused(f)
			default:
				must := m.must(n, now)
				switch r, known := table.Find(plan, name, n, now); {
				case known && !m.may(n, now, r.RetryAfter):
					t.Fatalf("%s, cost %d at %v: refused for %v; %+v", key, n, now, r.RetryAfter, m)
				case !known && must:
					t.Fatalf("%s, cost %d at %v: not refused; %+v", key, n, now, m.held)
				case known:
					refused++
				default:
					asked++
					m.asked = now
				}
			}
		}
		if n := table.Hits(); n != int64(refused-before) {
			t.Errorf("%d hits counted of %d", n, refused-before)
		}
	}
	if refused < 1000 || asked < 1000 {
		t.Errorf("%d refused, %d asked: this shows nothing", refused, asked)
	}
}

// Every hit is counted once, also a hit of an entry that left its table before it was counted.
func TestStatsCountHitsOfRemovedEntries(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(table ratelimit.DeniedKeys){
		"stays":    func(ratelimit.DeniedKeys) {},
		"dropped":  func(table ratelimit.DeniedKeys) { table.Forget("k") },
		"admitted": func(table ratelimit.DeniedKeys) { table.Admitted(0, "k", 1) },
		"replaced": func(table ratelimit.DeniedKeys) { table.Refused(0, "k", 1, 0, time.Hour) },
		"in another table": func(table ratelimit.DeniedKeys) {
			for i := range 5000 {
				table.Refused(0, fmt.Sprint("k", i), 1, 0, time.Hour)
			}
		},
		"in its place another key": func(table ratelimit.DeniedKeys) {
			table.Forget("k")
			for i := range 5000 {
				table.Refused(0, fmt.Sprint("k", i), 1, 0, time.Hour)
				table.Find(0, fmt.Sprint("k", i), 1, 0)
			}
		},
	} {
		table := ratelimit.NewDeniedKeys()
		table.Refused(0, "k", 1, 0, time.Hour)
		before := int64(0)
		table.FindLate("k", func() {
			leave(table)
			before = table.Hits()
		})
		if n := table.Hits() - before; n != 1 {
			t.Errorf("%s: %d hits counted of 1", name, n)
		}
	}
}

// A full table accepts no further keys. It accepts keys again when its entries are too old.
func TestR4_AFullTableHasRoomAgain(t *testing.T) {
	t.Parallel()
	table := ratelimit.NewDeniedKeys()
	known := func(from, n int, now time.Duration) (all int) {
		for i := range n {
			key := fmt.Sprint("k", from+i)
			table.Refused(0, key, 1, now, time.Hour)
			if _, ok := table.Find(0, key, 1, now); ok {
				all++
			}
		}
		return all
	}
	const n = 2 * ratelimit.MaxDenied
	if got := known(0, n, 0); got != ratelimit.MaxDenied {
		t.Errorf("%d of %d known, want %d", got, n, ratelimit.MaxDenied)
	}
	if got := known(n, 1000, ratelimit.AskAfter); got != 0 {
		t.Errorf("%d more known", got)
	}
	if got := known(2*n, 1000, ratelimit.AskAfter+2*ratelimit.AskGrace); got != 1000 {
		t.Errorf("%d of 1000 known when there is room again", got)
	}
}

// After askAfter, one caller asks Redis. The others are denied until it has an answer or its time
// is over.
func TestR4_OneCallerAsksAgain(t *testing.T) {
	t.Parallel()
	table := ratelimit.NewDeniedKeys()
	table.Refused(0, "k", 1, 0, time.Hour)
	for _, tt := range []struct {
		at    time.Duration
		known bool
	}{
		{ratelimit.AskAfter - 1, true}, {ratelimit.AskAfter, false}, {ratelimit.AskAfter, true},
		{ratelimit.AskAfter + ratelimit.AskGrace - 1, true}, {ratelimit.AskAfter + ratelimit.AskGrace, false},
		{ratelimit.AskAfter + ratelimit.AskGrace, false},
		{time.Minute, false}, {time.Minute, false}, // an old entry is not used
	} {
		r, known := table.Find(0, "k", 1, tt.at)
		if known != tt.known || known && r.RetryAfter != time.Hour-tt.at {
			t.Errorf("at %v: %+v, %v", tt.at, r, known)
		}
	}
	if ratelimit.AskAfter+ratelimit.AskGrace >= time.Second {
		t.Error("a refusal is believed for a second or longer")
	}
}
