package ratelimit

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/internal/batcher"
	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/script"
)

// algorithm is what the four differ in.
type algorithm struct {
	name   string
	suffix string // of the key; state of two algorithms never meets
	charge *script.Script
	peek   *script.Script // the same text: a cost of 0 writes nothing
	many   bool           // the script takes several keys, and answers with integers
	fields int            // numbers per rule in a reply
	args   func(r rule) []string
	// read makes one rule's state of a reply. n is the cost that is asked about; admitted says that it is in the
	// state already.
	read func(r *rule, in fields, n int64, admitted bool) (status, bool)
}

// fields are what a script answers for one rule: none is negative.
type fields [4]int64

// status is what one rule says. next is 0 if not known.
type status struct {
	remaining          int64
	retry, next, reset int64 // µs
}

// seen is what Redis answered of every rule of a plan; nothing if answered is false.
type seen struct {
	answered bool
	rules    []status
}

// plan is a set of rules, compiled. Its args and names don't change, so that a call for one token allocates none.
type plan struct {
	algorithm *algorithm
	rules     []rule // without those that are Unlimited
	verdict   verdict
	almanac   *almanac // nil: no rule counts by a calendar
	standing  Result   // the answer of a plan whose verdict is not asks
	args      []string // for a cost of 1
	most      int64    // the highest cost that every rule can admit
	mostRule  int
}

// rule is a Rule with its numbers in the script's units.
type rule struct {
	Rule
	id     string // 6 letters, in the state
	window int64  // µs
	// GCRA in exact integers: a token is perToken units of debt, perMicro units drain in a microsecond. Reduced,
	// perToken:perMicro is Window:Limit; only where that is too fine for a double it is rounded up by less than a
	// millionth.
	perToken, perMicro, mostDebt int64

	refused *atomic.Int64 // of the limiter's counters
}

func newPlan(a Algorithm, given []Rule) (*plan, error) {
	if len(given) == 0 {
		return nil, errors.New("ratelimit: Options.Rules is empty: a limiter needs at least one, such as ratelimit.PerSecond(10)")
	}
	if len(given) > maxRules {
		return nil, fmt.Errorf("ratelimit: Options.Rules has %d rules: at most %d", len(given), maxRules)
	}
	compiled := make([]rule, len(given))
	for i, r := range given {
		if err := r.check(i, a); err != nil {
			return nil, err
		}
		compiled[i] = compile(r)
		for j, other := range compiled[:i] {
			if other.Name == compiled[i].Name {
				return nil, fmt.Errorf("ratelimit: Rules[%d].Name is %q, as that of Rules[%d]: a result names its rule", i, other.Name, j)
			}
			if other.id == compiled[i].id {
				return nil, fmt.Errorf("ratelimit: Rules[%d] and Rules[%d] have the same identity: give one of them another Name", i, j)
			}
		}
	}

	p := &plan{algorithm: &algorithms[a], args: []string{"1"}, most: math.MaxInt64}
	for _, c := range compiled {
		if c.Limit == Unlimited {
			continue
		}
		if c.Limit > 0 && c.burst() < p.most {
			p.most, p.mostRule = c.burst(), len(p.rules)
		}
		p.rules = append(p.rules, c)
		p.args = append(p.args, p.algorithm.args(c)...)
		if c.Calendar != 0 && p.almanac == nil {
			p.almanac = &almanac{plan: p}
		}
	}
	p.judge(compiled)
	return p, nil
}

func compile(given Rule) rule {
	r := rule{Rule: given}
	if r.Calendar != 0 {
		r.Window = r.Calendar.longest() // for what counts without a calendar, as FailLocal does
		if r.Zone == nil {
			r.Zone = time.UTC
		}
	}
	if r.window = r.Window.Microseconds(); r.Name == "" {
		r.Name = r.defaultName()
	}
	r.id = r.identity()
	if r.Limit <= 0 { // no script counts it
		return r
	}
	g := gcd(r.window, r.Limit)
	r.perToken, r.perMicro = r.window/g, r.Limit/g
	const exact = 1 << 52 // a double counts to twice that
	if hi, lo := bits.Mul64(uint64(r.burst()), uint64(r.perToken)); hi > 0 || lo > exact {
		// As many units per µs as fit.
		horizon := float64(r.burst()) * float64(r.window) / float64(r.Limit)
		r.perMicro = max(1, int64(exact/horizon))
		hi, lo := bits.Mul64(uint64(r.window), uint64(r.perMicro))
		q, rem := bits.Div64(hi, lo, uint64(r.Limit))
		if rem > 0 {
			q++
		}
		r.perToken = int64(q)
	}
	r.mostDebt = r.burst() * r.perToken
	return r
}

// identity is what tells this rule's slot in a key's state from those of other plans.
func (r *rule) identity() string {
	text := fmt.Appendf(nil, "%q %d %d %d", r.Name, r.Limit, r.window, r.burst())
	if r.Calendar != 0 {
		text = fmt.Appendf(text, " %v %q", r.Calendar, r.Zone)
	}
	sum := sha256.Sum256(text)
	var id [6]byte
	for i := range id {
		id[i] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[sum[i]%52]
	}
	return string(id[:])
}

// shortest is how long a window of the rule lasts at least, in µs.
func (r *rule) shortest() int64 {
	if r.Calendar != 0 {
		return r.Calendar.shortest().Microseconds()
	}
	return r.window
}

// named is the rule that a result names.
func (p *plan) named(name string) *rule {
	for i := range p.rules {
		if p.rules[i].Name == name {
			return &p.rules[i]
		}
	}
	return &p.rules[0] // not reached: a result names a rule of its plan
}

// has reports whether a rule is this plan's: an equal one of another plan is not.
func (p *plan) has(r *rule) bool {
	for i := range p.rules {
		if &p.rules[i] == r {
			return true
		}
	}
	return false
}

// argsFor returns the script's arguments for a cost.
func (p *plan) argsFor(cost int64) []string {
	if cost == 1 {
		return p.args
	}
	args := slices.Clone(p.args)
	args[0] = strconv.FormatInt(cost, 10)
	return args
}

// checkCost refuses what no amount of waiting admits.
func (p *plan) checkCost(n int64) error {
	if n < 1 {
		return fmt.Errorf("%w: %d, the least is 1", ErrCost, n)
	}
	if n > p.most {
		what := "limit"
		if p.algorithm == &algorithms[GCRA] {
			what = "burst"
		}
		return fmt.Errorf("%w: %d is above the %s of rule %q, %d: it would be refused for ever", ErrCost, n, what, p.rules[p.mostRule].Name, p.most)
	}
	return nil
}

// reply is what a script said: the numbers of each rule in turn.
type reply struct {
	admitted bool
	numbers  [maxRules]fields
}

// read turns a reply into a Result for a cost of n. GCRA answers with an integer per rule, everything else with a sign
// and numbers in decimal.
func (p *plan) read(msg core.Reply, n int64, charge bool, seen *seen) (Result, error) {
	if p.algorithm.many {
		var debts [maxRules]int64
		if err := batcher.Integers(msg, debts[:len(p.rules)]); err != nil {
			return Result{}, err
		}
		return p.readDebts(&debts, n, charge, seen)
	}
	text, err := msg.ToString()
	if err != nil {
		return Result{}, unreadable(msg.String())
	}
	return p.readText(text, n, charge, seen)
}

// readDebts is for GCRA: the debts after a charge, or −1 − debt of every rule.
func (p *plan) readDebts(debts *[maxRules]int64, n int64, charge bool, seen *seen) (Result, error) {
	a := reply{admitted: debts[0] >= 0}
	for i := range p.rules {
		debt := debts[i]
		if debt >= 0 != a.admitted {
			return Result{}, unreadable(fmt.Sprint(debts[:len(p.rules)]))
		}
		if !a.admitted {
			debt = -1 - debt
		}
		a.numbers[i][0] = debt
	}
	result, ok := p.result(&a, n, charge, seen)
	if !ok {
		return Result{}, unreadable(fmt.Sprint(debts[:len(p.rules)]))
	}
	return result, nil
}

func (p *plan) readText(text string, n int64, charge bool, seen *seen) (Result, error) {
	if text == "" || (text[0] != '+' && text[0] != '-') {
		return Result{}, unreadable(text)
	}
	a := reply{admitted: text[0] == '+'}
	rest := text[1:]
	for i := range p.rules {
		for j := range p.algorithm.fields {
			var ok bool
			if a.numbers[i][j], rest, ok = number(rest); !ok {
				return Result{}, unreadable(text)
			}
		}
	}
	result, ok := p.result(&a, n, charge, seen)
	if !ok || rest != "" {
		return Result{}, unreadable(text)
	}
	return result, nil
}

// result says which rule binds: of those that refuse, the one that refuses longest; when all admit, the one with the
// least left. It is false if the script can't have answered so.
func (p *plan) result(a *reply, n int64, charge bool, seen *seen) (Result, bool) {
	charged := charge && a.admitted
	var all [maxRules]status
	var least, longest int
	for i := range p.rules {
		s, ok := p.algorithm.read(&p.rules[i], a.numbers[i], n, charged)
		if !ok {
			return Result{}, false
		}
		all[i] = s
		if s.remaining < all[least].remaining {
			least = i
		}
		if s.retry > all[longest].retry {
			longest = i
		}
	}
	binds, allowed := longest, all[longest].retry == 0
	if allowed {
		binds = least
	}
	if charge && allowed != a.admitted {
		return Result{}, false
	}
	if seen != nil {
		seen.answered = true
		copy(seen.rules, all[:])
	}
	r, s := &p.rules[binds], all[binds]
	return Result{
		Allowed:    allowed,
		Rule:       r.Name,
		Limit:      r.Limit,
		Remaining:  s.remaining,
		RetryAfter: micros(s.retry),
		NextAfter:  micros(s.next),
		ResetAfter: micros(s.reset),
	}, true
}

func unreadable(reply string) error {
	return fault.New(fault.ErrCorrupt, fmt.Errorf("the limiter's script answered %.64q", reply), "is another version of it stored under the same digest?")
}

// number takes a non-negative integer and the space after it, if there is one, off a text.
func number(text string) (v int64, rest string, ok bool) {
	i := 0
	for ; i < len(text) && text[i] != ' '; i++ {
		c := text[i] - '0'
		if c > 9 || i > 17 {
			return 0, "", false
		}
		v = 10*v + int64(c)
	}
	return v, text[min(i+1, len(text)):], i > 0
}

func micros(us int64) time.Duration { return time.Duration(us) * time.Microsecond }

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// ceilDiv is a/b rounded up, for a ≥ 0 and b > 0.
func ceilDiv(a, b int64) int64 {
	q := a / b
	if a%b > 0 {
		q++
	}
	return q
}
