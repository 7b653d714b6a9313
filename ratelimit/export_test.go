package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/script"
)

// VirtualTime is one algorithm's script with its clock replaced: the two last arguments are what TIME answers. The
// production text has no such argument; the test makes the variant by one textual replacement, so that nothing in
// the shipped script can be told another time.
type VirtualTime struct {
	plan   *plan
	script *script.Script
}

// NewVirtualTime compiles rules and makes the variant.
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
	// Nor may a key expire by the real clock.
	source = strings.NewReplacer("'PX', ", "'PX', 600000 + ", "'EXAT', ", "'EXAT', 4000000000 + ", "'PEXPIRE', key, ", "'PEXPIRE', key, 600000 + ").Replace(source)
	return VirtualTime{plan: p, script: script.New(source)}
}

// Run runs the variant at a time (µs): a cost above 0 charges, 0 peeks, below 0 refunds.
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
	debts, err := msg.AsIntSlice()
	if err != nil {
		return nil, err
	}
	width := len(v.plan.rules)
	if len(debts) != len(keys)*width {
		return nil, fmt.Errorf("%d integers for %d keys of %d rules", len(debts), len(keys), width)
	}
	results := make([]Result, len(keys))
	for i := range results {
		var of [maxRules]int64
		copy(of[:], debts[i*width:][:width])
		if results[i], err = v.plan.readDebts(&of, 1, true, nil); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// ReadText gives a reply to the code that reads replies.
func (v VirtualTime) ReadText(reply string, n int64) (Result, error) {
	r, err := v.plan.readText(reply, n, true, nil)
	return r, err
}

// SetFields sets the response fields of a limiter's answer, for a rule that binds. A rule without a count (0, Unlimited) is an error.
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

// Names returns the rules' names, defaults included.
func (v VirtualTime) Names() []string {
	var names []string
	for _, r := range v.plan.rules {
		names = append(names, r.Name)
	}
	return names
}

// MaxCharges is how many charges of responses are under way at once.
const MaxCharges = maxCharges

// Charges is how many are.
func Charges(l *Limiter) int64 { return l.charges.Load() }

// MaxRefusals is how many refusals a limiter keeps in memory.
const MaxRefusals = refusalShards * refusalsPerShard

// RefusalsKept counts them.
func RefusalsKept(l *Limiter) (n int) {
	for i := range l.refusals.shards {
		s := &l.refusals.shards[i]
		s.mu.Lock()
		for range s.table.Load().all {
			n++
		}
		s.mu.Unlock()
	}
	return n
}

// LeasesKept is how many keys are on lease.
func LeasesKept(l *Limiter) int64 { return l.leases.count.Load() }

// FillRefusals pretends that Redis refused ever new keys within one moment.
func FillRefusals(l *Limiter) {
	now := l.since()
	for i := range 10 * MaxRefusals {
		l.refusals.add(l.plan, "flood "+decimal(int64(i)), 1, now, now, Result{RetryAfter: believed})
	}
}

// Refusals is the table of refusals with a clock of the test's.
type Refusals struct {
	*refusals
	plans [2]*plan
}

// NewRefusals is for two plans.
func NewRefusals() Refusals {
	r := Refusals{refusals: newRefusals(nil, newCounters())}
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

// Find is what Allow does first.
func (r Refusals) Find(plan int, key string, n int64, now time.Duration) (Result, bool) {
	hash := r.hash(key)
	t := r.shard(hash).table.Load()
	e, at := t.find(hash, r.plans[plan], key)
	if e == nil || n < int64(e.cost) || !e.holds(now) {
		return Result{}, false
	}
	r.hit(t, e, at)
	return e.result(now), true
}

// FindLate is Find of a caller who is held up, between finding an entry and counting it.
func (r Refusals) FindLate(key string, meanwhile func()) {
	hash := r.hash(key)
	t := r.shard(hash).table.Load()
	e, at := t.find(hash, r.plans[0], key)
	meanwhile()
	r.hit(t, e, at)
}

// Hits is how many times Find found something.
func (r Refusals) Hits() int64 {
	r.settle()
	return r.counters.refusedLocally.Load()
}

// Refused and Admitted are Redis' answers.
func (r Refusals) Refused(plan int, key string, n int64, asked, retry time.Duration) {
	r.add(r.plans[plan], key, n, asked, asked, Result{RetryAfter: retry, ResetAfter: retry})
}

func (r Refusals) Admitted(plan int, key string, n int64) { r.admitted(r.plans[plan], key, n) }

// Forget is what Reset and Refund do.
func (r Refusals) Forget(key string) { r.forget(key) }

// Believed and Asking are how long a refusal is believed, and how long one caller may take to ask then.
const (
	Believed = believed
	Asking   = asking
)

// LocalKeysKept counts the keys that FailLocal has in memory.
func LocalKeysKept(l *Limiter) (n int) {
	for i := range l.local.shards {
		s := &l.local.shards[i]
		s.mu.Lock()
		n += len(s.keys)
		s.mu.Unlock()
	}
	return n
}

// Local is FailLocal's count with a clock of the test's.
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

// Allow asks at a time.
func (l Local) Allow(key string, n int64, now time.Duration) Result {
	return l.local.allow(l.plan, key, n, now)
}

// CalendarAround is the beginnings of windows around a time.
func CalendarAround(c Calendar, t time.Time) []time.Time {
	begins := c.around(t)
	return begins[:]
}

// MisleadCalendar makes a limiter believe that the server's clock is ahead by d.
func MisleadCalendar(l *Limiter, d time.Duration) {
	l.plan.almanac.ahead.Store(d.Microseconds())
	l.plan.almanac.page.Store(nil)
}

// PlansKept is how many names, limiters and bytes plans have in memory, and what the account says of the bytes.
func PlansKept(p *Plans) (names, limiters, bytes, account int) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for name := range p.near.entries {
		bytes += planEntrySize + len(name)
	}
	for text := range p.near.limiters {
		bytes += planLimiterSize + len(text)
	}
	return len(p.near.entries), len(p.near.limiters), bytes, p.near.bytes
}

// The budgets of stored plans.
const (
	MaxPlanSize = maxPlanSize
	MaxPlans    = maxPlans
)
