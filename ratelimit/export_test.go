package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/limitview"
	"github.com/redstart-go/redstart/internal/script"
)

// VirtualTime is one algorithm's script with a clock of the test: TIME is replaced by the two last
// arguments. The production text has no such argument. The test makes the variant by one textual
// replacement, so the shipped script always uses the server's clock.
type VirtualTime struct {
	plan   *plan
	script *script.Script
}

// NewVirtualTime compiles rules and creates the variant.
func NewVirtualTime(a Algorithm, rules ...Rule) VirtualTime {
	p, err := newPlan(a, rules)
	if err != nil {
		panic(err)
	}
	source := p.algorithm.charge.Source()
	const clock = "local t = call('TIME')"
	if strings.Count(source, clock) != 1 || strings.Count(source, "TIME") != 1 {
		panic("the script reads the time elsewhere: " + a.String())
	}
	source = strings.Replace(source, clock, "local t = { ARGV[#ARGV - 1], table.remove(ARGV) }\ntable.remove(ARGV)", 1)
	// Keys must not expire by the real clock.
	source = strings.NewReplacer("'PX', ", "'PX', 600000 + ", "'EXAT', ", "'EXAT', 4000000000 + ",
		"'PEXPIRE', key, ", "'PEXPIRE', key, 600000 + ").Replace(source)
	return VirtualTime{plan: p, script: script.New(source)}
}

// Run runs the variant at a time in µs. A cost above 0 charges, 0 peeks, below 0 refunds.
func (v VirtualTime) Run(ctx context.Context, c *core.Core, key string, now, cost int64) (Result, error) {
	args := append(append([]string{}, v.plan.argsAt(now, cost)...), decimal(now/1_000_000), decimal(now%1_000_000))
	msg, err := c.Eval(ctx, v.script, []string{key}, args)
	if err != nil {
		return Result{}, err
	}
	switch {
	case cost < 0:
		return Result{}, nil
	case cost == 0:
		r, err := v.plan.read(msg, 1, false, nil)
		return r, err
	}
	r, err := v.plan.read(msg, cost, true, nil)
	return r, err
}

// RunTogether charges one token of each key, in one call.
func (v VirtualTime) RunTogether(ctx context.Context, c *core.Core, keys []string, now int64) ([]Result, error) {
	args := append(append([]string{}, v.plan.argsFor(1)...), decimal(now/1_000_000), decimal(now%1_000_000))
	msg, err := c.Eval(ctx, v.script, keys, args)
	if err != nil {
		return nil, err
	}
	outstanding, err := msg.AsIntSlice()
	if err != nil {
		return nil, err
	}
	width := len(v.plan.rules)
	if len(outstanding) != len(keys)*width {
		return nil, fmt.Errorf("%d integers for %d keys of %d rules", len(outstanding), len(keys), width)
	}
	results := make([]Result, len(keys))
	for i := range results {
		var of [maxRules]int64
		copy(of[:], outstanding[i*width:][:width])
		if results[i], err = v.plan.readOutstanding(&of, 1, true, nil); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// ReadText passes a reply to the code that parses replies.
func (v VirtualTime) ReadText(reply string, n int64) (Result, error) {
	r, err := v.plan.readText(reply, n, true, nil)
	return r, err
}

// SetFields sets the response fields of a limiter's answer, for a binding rule. For a rule without
// a count (0, Unlimited) it returns an error.
func SetFields(h http.Header, limiter string, r Rule, result Result) error {
	p, err := newPlan(GCRA, []Rule{r})
	if err != nil {
		return err
	}
	if len(p.rules) == 0 {
		return errors.New("the rule counts nothing")
	}
	result.Rule = p.rules[0].Name
	l := &Limiter{plan: p, shared: &shared{name: limiter}}
	l.setFields(h, result, &seen{})
	return nil
}

// IDs returns what distinguishes the rules' slots in a state.
func (v VirtualTime) IDs() []string {
	var ids []string
	for _, r := range v.plan.rules {
		ids = append(ids, r.id)
	}
	return ids
}

// ViewSlots decodes a state as package inspect sees it.
func ViewSlots(a Algorithm, state string, now int64) ([]limitview.Slot, bool) {
	return viewSlots(a, state, now)
}

// Names returns the rules' names, including defaults.
func (v VirtualTime) Names() []string {
	var names []string
	for _, r := range v.plan.rules {
		names = append(names, r.Name)
	}
	return names
}

// MaxCharges is how many charges of responses are in flight at most.
const MaxCharges = maxCharges

// Charges returns how many charges of responses are in flight.
func Charges(l *Limiter) int64 { return l.charges.Load() }

// MaxDenied is how many denied keys a limiter keeps in memory.
const MaxDenied = deniedShards * deniedPerShard

// DeniedKept returns how many denied keys are in memory.
func DeniedKept(l *Limiter) (n int) {
	for i := range l.denied.shards {
		s := &l.denied.shards[i]
		s.mu.Lock()
		for range s.table.Load().all {
			n++
		}
		s.mu.Unlock()
	}
	return n
}

// LeasesKept returns how many keys are leased.
func LeasesKept(l *Limiter) int64 { return l.leases.count.Load() }

// FillDenied adds new denied keys at one moment until the cache is full.
func FillDenied(l *Limiter) {
	now := l.since()
	for i := range 10 * MaxDenied {
		l.denied.add(l.plan, "flood "+decimal(int64(i)), 1, now, now, Result{RetryAfter: askAfter})
	}
}

// DeniedKeys is the denied-key cache with a clock of the test.
type DeniedKeys struct {
	*deniedKeys
	plans [2]*plan
}

// NewDeniedKeys returns a cache for two plans.
func NewDeniedKeys() DeniedKeys {
	r := DeniedKeys{deniedKeys: newDeniedKeys(nil, newCounters())}
	for i := range r.plans {
		p, err := newPlan(GCRA, []Rule{{Limit: 100, Window: time.Hour}})
		if err != nil {
			panic(err)
		}
		p.rules[0].refused = r.counters.rule(p.rules[0].Name)
		r.plans[i] = p
	}
	return r
}

// Find is the first step of Allow.
func (r DeniedKeys) Find(plan int, key string, n int64, now time.Duration) (Result, bool) {
	hash := r.hash(key)
	t := r.shard(hash).table.Load()
	e, at := t.find(hash, r.plans[plan], key)
	if e == nil || n < int64(e.cost) || !e.denies(now) {
		return Result{}, false
	}
	r.countHit(t, e, at)
	return e.result(now), true
}

// FindLate is Find of a caller that pauses between finding an entry and counting it.
func (r DeniedKeys) FindLate(key string, meanwhile func()) {
	hash := r.hash(key)
	t := r.shard(hash).table.Load()
	e, at := t.find(hash, r.plans[0], key)
	meanwhile()
	r.countHit(t, e, at)
}

// Hits returns how often Find found an entry.
func (r DeniedKeys) Hits() int64 {
	r.moveHits()
	return r.counters.refusedLocally.Load()
}

// Refused and Admitted are answers of Redis.
func (r DeniedKeys) Refused(plan int, key string, n int64, asked, retry time.Duration) {
	r.add(r.plans[plan], key, n, asked, asked, Result{RetryAfter: retry, ResetAfter: retry})
}

func (r DeniedKeys) Admitted(plan int, key string, n int64) { r.admitted(r.plans[plan], key, n) }

// Forget is what Reset and Refund do.
func (r DeniedKeys) Forget(key string) { r.forget(key) }

// AskAfter and AskGrace are when one caller asks Redis again, and how long its question may take.
const (
	AskAfter = askAfter
	AskGrace = askGrace
)

// LocalKeysKept returns how many keys FailLocal has in memory.
func LocalKeysKept(l *Limiter) (n int) {
	for i := range l.local.shards {
		s := &l.local.shards[i]
		s.mu.Lock()
		n += len(s.keys)
		s.mu.Unlock()
	}
	return n
}

// Local is the count of FailLocal with a clock of the test.
type Local struct {
	local *local
	plan  *plan
}

// NewLocal compiles rules.
func NewLocal(a Algorithm, share float64, rules ...Rule) Local {
	p, err := newPlan(a, rules)
	if err != nil {
		panic(err)
	}
	return Local{newLocal(share, defaultLocalKeys), p}
}

// Allow charges at a time.
func (l Local) Allow(key string, n int64, now time.Duration) Result {
	return l.local.allow(l.plan, key, n, now)
}

// CalendarAround returns the starts of windows around a time.
func CalendarAround(c Calendar, t time.Time) []time.Time {
	begins := c.around(t)
	return begins[:]
}

// MisleadCalendar makes a limiter assume that the server's clock is ahead by d.
func MisleadCalendar(l *Limiter, d time.Duration) {
	l.plan.calendar.clockAhead.Store(d.Microseconds())
	l.plan.calendar.current.Store(nil)
}

// PlansKept returns how many names, limiters and bytes plans have in memory, and the accounted
// bytes.
func PlansKept(p *Plans) (names, limiters, bytes, account int) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for name := range p.cache.entries {
		bytes += planEntrySize + len(name)
	}
	for text := range p.cache.limiters {
		bytes += planLimiterSize + len(text)
	}
	return len(p.cache.entries), len(p.cache.limiters), bytes, p.cache.bytes
}

// The bounds of stored plans.
const (
	MaxPlanSize = maxPlanSize
	MaxPlans    = maxPlans
)
