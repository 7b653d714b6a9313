package ratelimit

import (
	"fmt"
	"math"
)

// verdict is whether a plan needs Redis for its answers.
type verdict uint8

const (
	asks       verdict = iota // Redis is asked
	refusesAll                // a rule's limit is 0
	admitsAll                 // no rule has a limit
)

// judge sets the verdict of a plan, and its answer if it does not need Redis.
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
	return fmt.Errorf("ratelimit: wait: %w: the limit of rule %q is 0: it would never be admitted", ErrCost, result.Rule)
}
