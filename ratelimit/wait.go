package ratelimit

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/redstart-go/redstart/observe"
)

// Wait blocks until key is allowed one token, and charges it.
//
// Waiters of one key are admitted in the order in which they called, one FIFO queue per key, process and plan; processes
// compete. A waiter whose context ends leaves its place to the next one. At most Options.MaxWaiters wait for one key.
//
// It returns nil when allowed, or when Options.Outage admits; a *WaitError at once if the queue is full (ErrQueueFull), or if ctx
// ends before the token of this place in the queue can come (ErrDeadline); ctx's error when it ends;
// redstart.ErrUnavailable if the client is closed in the meantime; ErrCost at once if a rule's limit is 0; and AllowN's errors. One round trip if a token is free.
// Otherwise the queue, not the waiter, sends about one command per token, and at least one per second.
func (l *Limiter) Wait(ctx context.Context, key string) error {
	ctx, end := l.core.Start(ctx, observe.Operation{Pattern: "ratelimit", Name: l.name, Verb: "wait"})
	err := l.wait(ctx, key)
	if end != nil {
		end(err)
	}
	return err
}

func (l *Limiter) wait(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("ratelimit: wait: %w", err)
	}
	if err := l.check("wait", key); err != nil {
		return err
	}
	if l.plan.verdict != asks {
		return l.waitJudged(key)
	}
	return l.queues.wait(ctx, key)
}

func newQueues(l *Limiter) *queues {
	return &queues{
		plan: l.plan, limit: l.opt.MaxWaiters, open: l.opt.Outage == FailOpen, keys: make(map[string]*queue),
		ask: func(ctx context.Context, key string, n int64) (Result, error) {
			return l.allow(ctx, key, n, nil)
		},
		refund: l.giveBack,
		start: func(serve func(ctx context.Context)) bool {
			return l.core.Group().Go("queue of a rate limit", serve)
		},
		next: l.nextToken,
	}
}

// giveBack returns tokens that were charged for waiters who left. Tokens that cannot be returned come back with time.
func (l *Limiter) giveBack(key string, n int64) {
	ctx, cancel := context.WithTimeout(l.core.Group().Context(), l.timeout())
	defer cancel()
	_ = l.refund(ctx, key, n)
}

// nextToken is the time until the next token, after an answer that left none: exact if the rule that binds now is the one that
// binds then, otherwise too early, which costs a round trip.
func (l *Limiter) nextToken(result Result) time.Duration {
	if l.leases != nil || result.Degraded {
		return 0
	}
	return result.NextAfter
}

// delay is how much later than the first token the one after n others comes at the earliest. binds is the rule that had the
// first token to wait for; another rule of GCRA can still have its whole burst.
func (p *plan) delay(binds string, n int64) time.Duration {
	var longest float64
	for i := range p.rules {
		r := &p.rules[i]
		var us float64
		switch p.algorithm {
		case &algorithms[GCRA]:
			missing := n
			if r.Name != binds {
				missing = max(0, n+1-r.burst())
			}
			us = float64(missing) * float64(r.perToken) / float64(r.perMicro)
		case &algorithms[SlidingWindow]:
			us = float64(n/(2*r.Limit)) * float64(r.window)
		default:
			us = float64(n/r.Limit) * float64(r.shortest())
		}
		longest = max(longest, us)
	}
	return time.Duration(min(longest*1000, math.MaxInt64/2))
}
