package ratelimit

import (
	"fmt"
	"math"
)

// verdict is what a plan answers to every request.
type verdict uint8

const (
	asks       verdict = iota // it depends on what was charged: Redis is asked
	refusesAll                // a rule's limit is 0
	admitsAll                 // no rule has a limit
)

// judge finds out whether a plan needs to ask Redis, and what it answers if not.
func (p *plan) judge(all []rule) {
	for i := range p.rules {
		if r := &p.rules[i]; r.Limit == 0 {
			p.verdict, p.standing = refusesAll, Result{Rule: r.Name, RetryAfter: Never}
			return
		}
	}
	if len(p.rules) == 0 {
		p.verdict = admitsAll
		p.standing = Result{Allowed: true, Rule: all[0].Name, Limit: Unlimited, Remaining: math.MaxInt64}
	}
}

// judged answers a request without a round trip.
func (l *Limiter) judged(key string) (Result, error) {
	if err := l.check("allow", key); err != nil {
		return Result{}, err
	}
	if l.plan.verdict == admitsAll {
		l.counters.unlimited.Add(1)
		return l.plan.standing, nil
	}
	l.counters.refusedLocally.Add(1)
	l.plan.named(l.plan.standing.Rule).refused.Add(1)
	l.counters.top.add(key, 1)
	return l.plan.standing, nil
}

// waitJudged is Wait without a round trip.
func (l *Limiter) waitJudged(key string) error {
	result, err := l.judged(key)
	if err != nil || result.Allowed {
		return err
	}
	return fmt.Errorf("ratelimit: wait: %w: the limit of rule %q is 0: it would be refused for ever", ErrCost, result.Rule)
}
