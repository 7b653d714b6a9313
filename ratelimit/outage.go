package ratelimit

import (
	"context"
	"fmt"
)

// outage answers a request that Redis did not: never with a refusal because of that (R5).
func (l *Limiter) outage(ctx context.Context, op, key string, n int64, err error) (Result, error) {
	if err := l.own(ctx, op, err); err != nil {
		return Result{}, err
	}
	if l.opt.Outage == FailClosed {
		l.counters.failed.Add(1)
		return Result{Degraded: true}, fmt.Errorf("ratelimit: %s: %w", op, err)
	}
	l.counters.degraded.Add(1)
	l.core.Degraded("ratelimit", l.name, l.opt.Outage.String(), err)
	if l.local == nil {
		return l.plan.unasked(), nil
	}
	result := l.local.allow(l.plan, key, n, l.since())
	if !result.Allowed {
		l.counters.degradedRefuse.Add(1)
		l.plan.named(result.Rule).refused.Add(1)
	}
	return result, nil
}

// own returns the end of the caller's own context, cancelled or past its deadline: it is the caller's error and says nothing
// about Redis. A limiter that shall decide sooner than the command timeout has Options.Timeout.
func (l *Limiter) own(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("ratelimit: %s: %w", op, err)
	}
	return nil
}

// unasked is what FailOpen answers.
func (p *plan) unasked() Result {
	r := &p.rules[p.mostRule]
	return Result{Allowed: true, Rule: r.Name, Limit: r.Limit, Remaining: r.burst(), Degraded: true}
}
