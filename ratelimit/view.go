package ratelimit

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/limitview"
)

// Package inspect reads and resets limits through package limitview. It has no Limiter: it does not
// know the rules of the services.
var _ = limitview.Register(limitview.Functions{
	Plans: viewPlans, StoredPlan: viewStoredPlan, Read: viewRead, Peek: viewPeek, Reset: viewReset,
	EndPermits: viewEndPermits, IsState: viewIsState,
})

// permitsSuffix is the suffix of the key of permits.
const permitsSuffix = "permits"

func viewIsState(suffix string, sibling bool) bool {
	if !sibling || suffix == permitsSuffix {
		return true
	}
	return slices.ContainsFunc(algorithms[:], func(a algorithm) bool { return a.suffix != "" && a.suffix == suffix })
}

// maxKnownPlans bounds the plans of one name that viewPlans returns.
const maxKnownPlans = 16

// knownPlans are the limiters of this process with one name.
type knownPlans struct {
	mu   sync.Mutex
	all  []*Limiter
	seen map[string]bool // by algorithm and ids of the rules
}

func knownOf(c *core.Core, prefix string) *knownPlans {
	return c.Shared("plans of "+prefix, func() any { return &knownPlans{seen: map[string]bool{}} }).(*knownPlans)
}

// register remembers a limiter for viewPlans.
func (l *Limiter) register() {
	known := knownOf(l.core, l.space.Prefix())
	id := l.plan.algorithm.name
	for i := range l.plan.rules {
		id += l.plan.rules[i].id
	}
	known.mu.Lock()
	defer known.mu.Unlock()
	if !known.seen[id] && len(known.all) < maxKnownPlans {
		known.seen[id] = true
		known.all = append(known.all, l)
	}
}

func (k *knownPlans) list() []*Limiter {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.all)
}

func viewPlans(c *core.Core, name string) []limitview.Plan {
	space, err := c.Keys("limit", name)
	if err != nil {
		return nil
	}
	var plans []limitview.Plan
	for _, l := range knownOf(c, space.Prefix()).list() {
		p := limitview.Plan{Algorithm: l.plan.algorithm.name}
		for i := range l.plan.rules {
			r := &l.plan.rules[i].Rule
			p.Rules = append(p.Rules, limitview.Rule{Name: r.Name, Limit: r.Limit, Window: r.Window, Burst: r.Burst,
				Calendar: int(r.Calendar), Zone: r.Zone})
			if r.Calendar != 0 { // compile set the window
				p.Rules[i].Window = 0
			}
		}
		plans = append(plans, p)
	}
	return plans
}

func algorithmOf(name string) (Algorithm, error) {
	for a := range algorithms {
		if algorithms[a].name == name {
			return Algorithm(a), nil
		}
	}
	return 0, fmt.Errorf("ratelimit: %.64q is not an algorithm: use GCRA, SlidingLog, SlidingWindow or FixedWindow", name)
}

// viewPeek runs the script of Peek for rules that the caller gives.
func viewPeek(ctx context.Context, c *core.Core, name, key string, given limitview.Plan) (limitview.Answer, error) {
	var answer limitview.Answer
	a, err := algorithmOf(given.Algorithm)
	if err != nil {
		return answer, err
	}
	rules := make([]Rule, 0, len(given.Rules))
	for _, r := range given.Rules {
		rules = append(rules, Rule{Name: r.Name, Limit: r.Limit, Window: r.Window, Burst: r.Burst,
			Calendar: Calendar(r.Calendar), Zone: r.Zone})
	}
	p, err := newPlan(a, rules)
	if err != nil {
		return answer, err
	}
	space, err := c.Keys("limit", name)
	if err != nil {
		return answer, err
	}

	l := &Limiter{shared: &shared{core: c, name: name, space: space}, plan: p}
	if err := l.check("peek", key); err != nil {
		return answer, err
	}
	result, seen := p.standing, seen{rules: make([]status, len(p.rules))}
	if p.verdict == asks {
		msg, err := l.eval(ctx, p.algorithm.peek, key, 0)
		if err != nil {
			return answer, err
		}
		if result, err = p.read(msg, 1, false, &seen); err != nil {
			return answer, err
		}
	}
	answer.Allowed, answer.Rule, answer.RetryAfter = result.Allowed, result.Rule, result.RetryAfter
	for i := range p.rules {
		s := seen.rules[i]
		answer.Rules = append(answer.Rules, limitview.RuleState{Name: p.rules[i].Name, Limit: p.rules[i].Limit,
			Remaining: s.remaining, RetryAfter: micros(s.retry), NextAfter: micros(s.next), ResetAfter: micros(s.reset)})
	}
	return answer, nil
}

// viewKeys returns the keys of a limiter's key: one for each algorithm, and the permits.
func viewKeys(c *core.Core, name, key string) ([]string, error) {
	space, err := c.Keys("limit", name)
	if err != nil {
		return nil, err
	}
	if len(key) > maxKey {
		return nil, fault.New(fault.ErrTooLarge, fmt.Errorf("the key is %d bytes long, the limit is %d", len(key), maxKey), "")
	}
	names := make([]string, 0, len(algorithms)+1)
	for a := range algorithms {
		if algorithms[a].suffix == "" {
			names = append(names, space.Key(key))
		} else {
			names = append(names, space.Sibling(key, algorithms[a].suffix))
		}
	}
	return append(names, space.Sibling(key, permitsSuffix)), nil
}

func viewReset(ctx context.Context, c *core.Core, name, key string) (int64, error) {
	names, err := viewKeys(c, name, key)
	if err != nil {
		return 0, err
	}
	removed, err := viewDelete(ctx, c, names[:len(names)-1])
	space, _ := c.Keys("limit", name) // viewKeys has checked it
	for _, l := range knownOf(c, space.Prefix()).list() {
		l.forget(key) // also after an error: the server may have removed the charges
	}
	return removed, err
}

func viewEndPermits(ctx context.Context, c *core.Core, name, key string) (int64, error) {
	names, err := viewKeys(c, name, key)
	if err != nil {
		return 0, err
	}
	return viewDelete(ctx, c, names[len(names)-1:])
}

func viewDelete(ctx context.Context, c *core.Core, names []string) (int64, error) {
	msg, err := c.Do(ctx, core.Write("DEL", names[0], names[1:]...))
	if err != nil {
		return 0, err
	}
	return msg.AsInt64()
}

// viewRead sends all reads of a key as one pipeline to its node.
func viewRead(ctx context.Context, c *core.Core, name, key string) (limitview.State, error) {
	var state limitview.State
	names, err := viewKeys(c, name, key)
	if err != nil {
		return state, err
	}
	cmds := []core.Command{core.ReadAt(names[0], "TIME")}
	for a, full := range names[:len(algorithms)] {
		if Algorithm(a) == SlidingLog {
			cmds = append(cmds, core.Read("XLEN", full), core.Read("PTTL", full))
		} else {
			cmds = append(cmds, core.Read("GET", full), core.Read("PTTL", full))
		}
	}
	replies := c.DoMulti(ctx, cmds...)

	msg, err := replies[0].Get()
	if err != nil {
		return state, err
	}
	now, err := viewNow(msg)
	if err != nil {
		return state, err
	}
	for a := range algorithms {
		counts, err := viewCounts(Algorithm(a), replies[1+2*a], replies[2+2*a], now)
		if err != nil {
			return state, err
		}
		if counts != nil {
			state.Counts = append(state.Counts, *counts)
		}
	}
	state.Permits, err = viewPermits(ctx, c, names[len(names)-1], now)
	return state, err
}

func viewNow(msg core.Reply) (int64, error) {
	parts, err := msg.AsStrSlice()
	if err != nil || len(parts) != 2 {
		return 0, fault.New(fault.ErrCorrupt, errors.New("malformed reply to TIME"), "")
	}
	sec, err1 := strconv.ParseInt(parts[0], 10, 64)
	us, err2 := strconv.ParseInt(parts[1], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return 0, fault.New(fault.ErrCorrupt, err, "")
	}
	return sec*1_000_000 + us, nil
}

// viewCounts reads the state of one algorithm. It returns nil if there is none.
func viewCounts(a Algorithm, value, ttl core.Result, now int64) (*limitview.Counts, error) {
	counts := &limitview.Counts{Algorithm: algorithms[a].name}
	msg, err := value.Get()
	switch {
	case errors.Is(err, fault.ErrCorrupt):
		counts.Problem = "the key has another type"
		return counts, nil
	case err != nil:
		return nil, err
	case msg.IsNil():
		return nil, nil
	}
	left, err := ttl.Get()
	if err != nil {
		return nil, err
	}
	ms, err := left.AsInt64()
	if err != nil {
		return nil, err
	}
	counts.TTL = time.Duration(ms) * time.Millisecond
	if a == SlidingLog {
		if counts.Entries, err = msg.AsInt64(); err != nil || counts.Entries == 0 {
			return nil, err
		}
		return counts, nil
	}

	text, err := msg.ToString()
	if err != nil {
		return nil, err
	}
	counts.Bytes = int64(len(text))
	slots, ok := viewSlots(a, text, now)
	if counts.Slots = slots; !ok {
		counts.Problem = "not a state of this release"
	}
	return counts, nil
}

// viewSlots decodes the slots of a state. The formats are in gcra_state.lua, sliding.lua and
// fixed.lua. TestR3_TheViewEqualsTheModels compares it with the models of the scripts.
func viewSlots(a Algorithm, state string, now int64) (slots []limitview.Slot, ok bool) {
	width, version := map[Algorithm]int{GCRA: 18, SlidingWindow: 54, FixedWindow: 38}[a], map[Algorithm]byte{GCRA: '2'}[a]
	if version == 0 {
		version = '1'
	}
	if len(state) == 0 || state[0] != version || len(state)%width != 1 {
		return nil, false
	}
	n := len(state) / width
	for i := range n {
		s := limitview.Slot{Count: -1}
		if a == GCRA {
			s.ID = state[1+6*i : 7+6*i]
			tat := math.Float64frombits(binary.LittleEndian.Uint64([]byte(state[1+6*n+12*i:])))
			s.Ends = micros(int64(max(tat-float64(now), 0)))
		} else {
			part := state[1+width*i:]
			s.ID = part[:6]
			ends, err1 := strconv.ParseInt(part[6:22], 10, 64)
			count, err2 := strconv.ParseInt(part[22:38], 10, 64)
			if err1 != nil || err2 != nil {
				return nil, false
			}
			s.Count, s.Ends = count, micros(max(ends-now, 0))
			if s.Ends == 0 { // the slot of another rule keeps the key
				s.Count = 0
			}
		}
		slots = append(slots, s)
	}
	return slots, true
}

// viewPermits counts the permits that have not expired.
func viewPermits(ctx context.Context, c *core.Core, full string, now int64) (p limitview.Permits, err error) {
	live := "(" + decimal(now)
	replies := c.DoMulti(ctx, core.Read("ZCOUNT", full, live, "+inf"),
		core.Read("ZRANGEBYSCORE", full, live, "+inf", "WITHSCORES", "LIMIT", "0", "1"),
		core.Read("ZRANGE", full, "-1", "-1", "WITHSCORES"))
	msg, err := replies[0].Get()
	if errors.Is(err, fault.ErrCorrupt) {
		return p, nil // another type: there are no permits
	}
	if err != nil {
		return p, err
	}
	if p.Held, err = msg.AsInt64(); err != nil || p.Held == 0 {
		return p, err
	}
	for i, to := range []*time.Duration{&p.First, &p.Last} {
		msg, err := replies[1+i].Get()
		if err != nil {
			return p, err
		}
		pairs, err := msg.AsZScores()
		if err != nil || len(pairs) != 1 {
			continue // the last permit has ended in the meantime
		}
		*to = micros(int64(max(pairs[0].Score-float64(now), 0)))
	}
	return p, nil
}
