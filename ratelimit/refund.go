package ratelimit

import (
	"context"
	"fmt"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/observe"
)

// Reset removes all charges of key, in every plan. It takes one round trip. Other processes may
// deny the key from memory for up to one more second (R4), and they may use tokens that they have
// leased.
func (l *Limiter) Reset(ctx context.Context, key string) error {
	if err := l.check("reset", key); err != nil {
		return err
	}

	ctx, end := l.core.Start(ctx, observe.Operation{Pattern: "ratelimit", Name: l.name, Verb: "reset"})
	_, err := l.core.Do(ctx, core.Write("DEL", l.key(key)))
	if err != nil {
		err = fmt.Errorf("ratelimit: reset in %q: %w", l.name, err)
	}

	l.forget(key)
	end(err)

	return err
}

// Refund returns n tokens of a request that was admitted but not executed. It takes one round trip.
// It never returns more than is charged.
//
// Call it immediately after the charge. GCRA lowers the tokens outstanding, SlidingLog removes the
// newest n tokens, and the window algorithms lower the present window. If the charged tokens have
// drained in the meantime, up to n other tokens are returned instead. Then the bounds (R1) hold
// plus n.
func (l *Limiter) Refund(ctx context.Context, key string, n int64) error {
	if err := l.check("refund", key); err != nil {
		return err
	}

	if err := l.plan.checkCost(n); err != nil {
		return err
	}

	if l.plan.verdict != asks { // nothing was charged
		return nil
	}

	ctx, end := l.core.Start(ctx, observe.Operation{Pattern: "ratelimit", Name: l.name, Verb: "refund"})
	err := l.refund(ctx, key, n)
	if err != nil {
		err = fmt.Errorf("ratelimit: refund in %q: %w", l.name, err)
	}

	end(err)

	return err
}

func (l *Limiter) refund(ctx context.Context, key string, n int64) error {
	_, err := l.eval(ctx, l.plan.algorithm.charge, key, -n)
	l.denied.forget(key)
	return err
}

// forget drops what this process knows about a key.
func (l *Limiter) forget(key string) {
	l.denied.forget(key)
	l.holders.forget(key)
	if l.local != nil {
		l.local.forget(key)
	}
}
