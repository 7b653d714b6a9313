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

// algorithm is what the algorithms differ in.
type algorithm struct {
	name   string
	suffix string // of the key, so that algorithms have separate states
	charge *script.Script
	peek   *script.Script // the same text: a cost of 0 writes nothing
	many   bool           // the script takes several keys and answers integers
	fields int            // numbers per rule in a reply
	args   func(r rule) []string
	// read makes the state of one rule from a reply. n is the cost of the request. admitted reports
	// that the state includes the cost already.
	read func(r *rule, in fields, n int64, admitted bool) (status, bool)
}

// fields are what a script answers for one rule. None is negative.
type fields [4]int64

// status is the state of one rule. next is 0 if it is not known.
type status struct {
	remaining          int64
	retry, next, reset int64 // µs
}

// seen is what Redis answered for every rule of a plan. It is empty if answered is false.
type seen struct {
	answered bool
	rules    []status
}

// plan is a compiled set of rules. Its arguments and names do not change, so a call for one token
// does not allocate them.
type plan struct {
	algorithm *algorithm
	rules     []rule // without the rules that are Unlimited
	verdict   verdict
	calendar  *calendarWindows // nil: no rule has a calendar
	standing  Result           // the answer of a plan whose verdict is not asks
	args      []string         // for a cost of 1
	most      int64            // the highest cost that every rule can admit
	mostRule  int
}

// rule is a Rule with its numbers in the units of the script.
type rule struct {
	Rule
	id     string // 6 letters, in the state
	window int64  // µs
	// GCRA in exact integers: a token is perToken units, and perMicro units drain in a microsecond.
	// maxOutstanding is the maximum of units outstanding. perToken:perMicro is the reduced ratio
	// Window:Limit. If the ratio is too fine for a double, it is rounded up by less than a
	// millionth.
	perToken, perMicro, maxOutstanding int64

	refused *atomic.Int64 // counter of the limiter
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
				return nil, fmt.Errorf("ratelimit: Rules[%d].Name is %q, and so is Rules[%d].Name: "+
					"give each rule its own name", i, other.Name,
					j)
			}
			if other.id == compiled[i].id {
				return nil, fmt.Errorf("ratelimit: Rules[%d] and Rules[%d] have the same identity: give one of them another Name", i,
					j)
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
		if c.Calendar != 0 && p.calendar == nil {
			p.calendar = &calendarWindows{plan: p}
		}
	}

	p.judge(compiled)
	return p, nil
}

func compile(given Rule) rule {
	r := rule{Rule: given}
	if r.Calendar != 0 {
		r.Window = r.Calendar.longest() // for FailLocal, which has no calendar
		if r.Zone == nil {
			r.Zone = time.UTC
		}
	}

	if r.window = r.Window.Microseconds(); r.Name == "" {
		r.Name = r.defaultName()
	}

	r.id = r.identity()
	if r.Limit <= 0 { // no script counts the rule
		return r
	}

	g := gcd(r.window, r.Limit)
	r.perToken, r.perMicro = r.window/g, r.Limit/g
	const exact = 1 << 52 // a double counts exactly to 2^53
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

	r.maxOutstanding = r.burst() * r.perToken
	return r
}

// identity returns what distinguishes this rule's slot in a key's state from slots of other plans.
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

// shortest returns the shortest possible window of the rule, in µs.
func (r *rule) shortest() int64 {
	if r.Calendar != 0 {
		return r.Calendar.shortest().Microseconds()
	}
	return r.window
}

// named returns the rule that a result names.
func (p *plan) named(name string) *rule {
	for i := range p.rules {
		if p.rules[i].Name == name {
			return &p.rules[i]
		}
	}
	return &p.rules[0] // not reached: a result names a rule of its plan
}

// has reports whether a rule belongs to this plan. An equal rule of another plan does not.
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

// checkCost refuses a cost that is never admitted.
func (p *plan) checkCost(n int64) error {
	if n < 1 {
		return fmt.Errorf("%w: cost is %d: the least is 1", ErrCost, n)
	}

	if n > p.most {
		what := "limit"
		if p.algorithm == &algorithms[GCRA] {
			what = "burst"
		}
		return fmt.Errorf("%w: %d is above the %s of rule %q, %d: it would never be admitted", ErrCost, n,
			what, p.rules[p.mostRule].Name, p.most)
	}

	return nil
}

// reply is the answer of a script: the numbers of each rule in turn.
type reply struct {
	admitted bool
	numbers  [maxRules]fields
}

// read makes a Result for a cost of n from a reply. GCRA answers an integer per rule. Other
// algorithms answer a sign and decimal numbers.
func (p *plan) read(msg core.Reply, n int64, charge bool, seen *seen) (Result, error) {
	if p.algorithm.many {
		var outstanding [maxRules]int64
		if err := batcher.Integers(msg, outstanding[:len(p.rules)]); err != nil {
			return Result{}, err
		}
		return p.readOutstanding(&outstanding, n, charge, seen)
	}

	text, err := msg.ToString()
	if err != nil {
		return Result{}, unreadable(msg.String())
	}

	return p.readText(text, n, charge, seen)
}

// readOutstanding reads the answer of GCRA: the units outstanding after a charge, or −1 − units of
// every rule after a refusal.
func (p *plan) readOutstanding(outstanding *[maxRules]int64, n int64, charge bool, seen *seen) (Result, error) {
	a := reply{admitted: outstanding[0] >= 0}
	for i := range p.rules {
		units := outstanding[i]
		if units >= 0 != a.admitted {
			return Result{}, unreadable(fmt.Sprint(outstanding[:len(p.rules)]))
		}
		if !a.admitted {
			units = -1 - units
		}
		a.numbers[i][0] = units
	}

	result, ok := p.result(&a, n, charge, seen)
	if !ok {
		return Result{}, unreadable(fmt.Sprint(outstanding[:len(p.rules)]))
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

// result finds the binding rule. If rules refuse, it is the one that refuses longest. If all admit,
// it is the one with the least remaining. It returns false if the script cannot have answered this.
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
	return fault.New(fault.ErrCorrupt, fmt.Errorf("the limiter's script answered %.64q", reply),
		"check whether another script has the same digest")
}

// number reads a non-negative integer, and the space after it if there is one.
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

// ceilDiv returns a/b rounded up, for a ≥ 0 and b > 0.
func ceilDiv(a, b int64) int64 {
	q := a / b
	if a%b > 0 {
		q++
	}
	return q
}
