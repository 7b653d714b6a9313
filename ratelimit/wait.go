package ratelimit

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/redstart-go/redstart/observe"
)

// Wait waits until one token of key is charged.
//
// Waiters of one key are admitted in the order of their calls. There is one FIFO queue per key,
// process and plan; processes compete. If the context of a waiter ends, the next waiter gets its
// position. At most [Options.MaxWaiters] callers wait for one key.
//
// Wait returns nil when the token is charged, or when [Options.Outage] admits. It returns
// immediately:
//
//   - a [*WaitError] with [ErrQueueFull], if the queue is full;
//   - a [*WaitError] with [ErrDeadline], if ctx would end before the token of this position in the
//     queue is available;
//   - [ErrCost], if a rule's limit is 0.
//
// Other errors: ctx's error; redstart.ErrUnavailable if the client is closed in the meantime; the
// errors of [Limiter.AllowN]. If a token is available, Wait takes one round trip. Otherwise the
// queue sends about one command per token, and at least one per second, for all waiters.
func (l *Limiter) Wait(ctx context.Context, key string) error {
	ctx, end := l.core.Start(ctx, observe.Operation{Pattern: "ratelimit", Name: l.name, Verb: "wait"})
	err := l.wait(ctx, key)
	end(err)
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
	if !l.core.Records() {
		_, err := l.queues.wait(ctx, key)
		return err
	}

	began := time.Now()
	queued, err := l.queues.wait(ctx, key)
	if queued {
		l.core.Record(ctx, observe.Operation{Pattern: "ratelimit", Name: l.name, Verb: "wait"}, observe.Wait, time.Since(began))
	}
	return err
}

func newQueues(l *Limiter) *queues {
	return &queues{
		plan: l.plan, time: l.core.Time(), limit: l.opt.MaxWaiters, open: l.opt.Outage == FailOpen, keys: make(map[string]*queue),
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

// giveBack returns tokens that were charged for waiters that left. If this fails, the tokens drain
// with time.
func (l *Limiter) giveBack(key string, n int64) {
	ctx, cancel := context.WithTimeout(l.core.Group().Context(), l.timeout())
	defer cancel()
	_ = l.refund(ctx, key, n)
}

// nextToken returns the time until the next token, after an answer that left none. It is exact if
// the binding rule stays the same. Otherwise it is too short, which costs a round trip.
func (l *Limiter) nextToken(result Result) time.Duration {
	if l.leases != nil || result.Degraded {
		return 0
	}
	return result.NextAfter
}

// delay returns how much later than the first token the token after n others is available at the
// earliest. binds is the rule that the first token waits for. Another rule of GCRA may still have
// its whole burst.
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
