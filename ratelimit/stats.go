package ratelimit

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/redstart-go/redstart/observe"
)

// Stats are the counters of a limiter and of its plans ([Limiter.With], [Plans]) in this process,
// since [New].
type Stats struct {
	Allowed         int64            // admitted with a round trip
	Leased          int64            // admitted from a lease, without a round trip
	Unlimited       int64            // admitted by a plan without limits, without a round trip
	Refused         int64            // refused by Redis
	RefusedLocally  int64            // denied from memory or by a limit of 0, without a round trip
	RefusedByRule   map[string]int64 // Refused and RefusedLocally, by the binding rule
	Degraded        int64            // answered by Options.Outage
	DegradedRefused int64            // of these, refused by FailLocal
	Failed          int64            // errors of Redis that FailClosed returned
	Shadowed        int64            // admitted by Middleware in shadow mode, instead of refused
	TopRefused      []KeyCount       // the most refused keys, at most 64, in descending order
}

// KeyCount is a key and how often it was refused. Count is too high by at most Overcount, because
// the list is bounded: a new key takes over the count of the key that it replaces.
type KeyCount struct {
	Key              string // prefix of the SHA-256 hash, in hexadecimal, with Options.HashKeys
	Count, Overcount int64
}

// counters are the counters of a limiter. Labels are names of rules, which come from the program.
type counters struct {
	allowed, refused, refusedLocally           atomic.Int64
	unlimited                                  atomic.Int64
	degraded, degradedRefuse, failed, shadowed atomic.Int64
	leased                                     stripedCounter
	top                                        top

	mu    sync.Mutex
	rules map[string]*atomic.Int64
}

// stripedCounter is a counter for many concurrent callers, in stripes on separate cache lines.
type stripedCounter [leaseShards]struct {
	n atomic.Int64
	_ [56]byte
}

// Load returns the sum.
func (s *stripedCounter) Load() (n int64) {
	for i := range s {
		n += s[i].n.Load()
	}
	return n
}

// maxRuleNames bounds the counters by rule, in case a program creates rules without a bound.
const maxRuleNames = 256

func newCounters() *counters {
	return &counters{top: top{at: map[string]int{}}, rules: map[string]*atomic.Int64{}}
}

// rule returns the counter of a rule's refused requests.
func (c *counters) rule(name string) *atomic.Int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.rules[name]; !known && len(c.rules) >= maxRuleNames {
		name = "(other)"
	}
	if c.rules[name] == nil {
		c.rules[name] = new(atomic.Int64)
	}
	return c.rules[name]
}

func (c *counters) byRule() map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[string]int64, len(c.rules))
	for name, n := range c.rules {
		all[name] = n.Load()
	}
	return all
}

// Stats returns the present counters.
func (l *Limiter) Stats() Stats {
	l.denied.moveHits()
	c := l.counters
	s := Stats{
		Allowed: c.allowed.Load(), Leased: c.leased.Load(), Unlimited: c.unlimited.Load(),
		Refused: c.refused.Load(), RefusedLocally: c.refusedLocally.Load(), RefusedByRule: c.byRule(),
		Degraded: c.degraded.Load(), DegradedRefused: c.degradedRefuse.Load(), Failed: c.failed.Load(),
		Shadowed: c.shadowed.Load(), TopRefused: c.top.list(),
	}

	if l.opt.HashKeys {
		for i := range s.TopRefused {
			sum := sha256.Sum256([]byte(s.TopRefused[i].Key))
			s.TopRefused[i].Key = hex.EncodeToString(sum[:8])
		}
	}

	return s
}

func (s *shared) metrics(yield func(observe.Metric) bool) bool {
	s.denied.moveHits()
	c := s.counters
	limiter := observe.Label{Name: "limiter", Value: s.name}
	for _, m := range []struct {
		outcome string
		n       interface{ Load() int64 }
	}{
		{"allowed", &c.allowed}, {"leased", &c.leased}, {"unlimited", &c.unlimited}, {"refused", &c.refused},
		{"refused_locally", &c.refusedLocally},
		{"degraded", &c.degraded}, {"failed", &c.failed},
	} {
		if !yield(observe.Metric{
			Name: "redstart.ratelimit.requests", Help: "Requests to a limiter by outcome.", Unit: "1", Kind: observe.Counter,
			Labels: []observe.Label{limiter, {Name: "outcome", Value: m.outcome}}, Value: float64(m.n.Load()),
		}) {
			return false
		}
	}

	byRule := c.byRule()
	for _, name := range slices.Sorted(maps.Keys(byRule)) {
		if !yield(observe.Metric{
			Name: "redstart.ratelimit.refused", Help: "Refused requests by the binding rule.", Unit: "1", Kind: observe.Counter,
			Labels: []observe.Label{limiter, {Name: "rule", Value: name}}, Value: float64(byRule[name]),
		}) {
			return false
		}
	}

	return yield(observe.Metric{
		Name: "redstart.ratelimit.shadowed", Help: "Requests that shadow mode admitted.", Unit: "1", Kind: observe.Counter,
		Labels: []observe.Label{limiter}, Value: float64(c.shadowed.Load()),
	})
}

// top counts the most refused keys in bounded memory: Space-Saving (Metwally, Agrawal, El Abbadi
// 2005). A new key replaces the key with the least count, and takes its count as the error.
type top struct {
	mu   sync.Mutex
	at   map[string]int
	keys []KeyCount
}

const topKeys = 64

func (t *top) add(key string, n int64) {
	if n == 0 {
		return
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	if i, ok := t.at[key]; ok {
		t.keys[i].Count += n
		return
	}

	if len(t.keys) < topKeys {
		t.at[key] = len(t.keys)
		t.keys = append(t.keys, KeyCount{Key: key, Count: n})
		return
	}

	least := 0
	for i := range t.keys {
		if t.keys[i].Count < t.keys[least].Count {
			least = i
		}
	}

	e := &t.keys[least]
	delete(t.at, e.Key)
	t.at[key] = least
	*e = KeyCount{Key: key, Count: e.Count + n, Overcount: e.Count}
}

func (t *top) list() []KeyCount {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := slices.Clone(t.keys)
	slices.SortFunc(all, func(a, b KeyCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Key, b.Key))
	})
	return all
}
