package ratelimit

import (
	"context"
	"fmt"
)

// outage answers a request that Redis did not answer. It does not refuse because of the outage
// (R5).
func (l *Limiter) outage(ctx context.Context, op, key string, n int64, err error) (Result, error) {
	if err := l.callerError(ctx, op, err); err != nil {
		return Result{}, err
	}

	if l.opt.Outage == FailClosed {
		l.counters.failed.Add(1)
		return Result{Degraded: true}, fmt.Errorf("ratelimit: %s in %q: %w", op, l.name, err)
	}

	l.counters.degraded.Add(1)
	l.core.Degraded("ratelimit", l.name, l.opt.Outage.String(), err)
	if l.local == nil {
		return l.plan.degradedResult(), nil
	}

	result := l.local.allow(l.plan, key, n, l.since())
	if !result.Allowed {
		l.counters.degradedRefuse.Add(1)
		l.plan.named(result.Rule).refused.Add(1)
	}

	return result, nil
}

// callerError returns the error if the caller's own context ended. The error says nothing about
// Redis. Use Options.Timeout for a decision before the command timeout.
func (l *Limiter) callerError(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("ratelimit: %s in %q: %w", op, l.name, err)
	}
	return nil
}

// degradedResult returns the answer of FailOpen.
func (p *plan) degradedResult() Result {
	r := &p.rules[p.mostRule]
	return Result{Allowed: true, Rule: r.Name, Limit: r.Limit, Remaining: r.burst(), Degraded: true}
}
