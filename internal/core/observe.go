package core

import (
	"context"
	"fmt"
	"time"

	"github.com/redstart-go/redstart/observe"
)

// Start starts an observed operation. The caller ends it with the returned function, which is never
// nil. A panic of the observer, in Start or at the end, is logged, and the operation continues. The
// caller must hold no lock, because the observer is user code.
func (c *Core) Start(ctx context.Context, op observe.Operation) (context.Context, func(error)) {
	if c.opt.Observer == nil {
		return ctx, func(error) {}
	}

	started, end := c.startSpan(ctx, op)
	if started == nil { // the observer panicked, or returned no context
		started = ctx
	}
	if end == nil { // the observer panicked, or does not need the end
		return started, func(error) {}
	}
	return started, func(err error) {
		defer c.containObserver(op, "end")
		end(err)
	}
}

func (c *Core) startSpan(ctx context.Context, op observe.Operation) (context.Context, func(error)) {
	defer c.containObserver(op, "start")
	return c.opt.Observer.Start(ctx, op)
}

// containObserver logs a panic of the observer. Defer it directly around the call. step is "start",
// "end" or the name of a quantity.
func (c *Core) containObserver(op observe.Operation, step string) {
	if p := recover(); p != nil {
		c.Warn("redstart: the observer panicked", op.Pattern+"/"+op.Name, "pattern", op.Pattern, "name", op.Name,
			"verb", op.Verb, "step", step, "error", fmt.Sprint(p))
	}
}

// Observer returns the observer of the client, or nil.
func (c *Core) Observer() observe.Observer { return c.opt.Observer }

// Observed reports whether the client has an observer.
func (c *Core) Observed() bool { return c.opt.Observer != nil }

// Records reports whether the observer also receives waits, holds and lags. If it does not, the
// caller need not measure them.
func (c *Core) Records() bool { return c.recorder != nil }

// Record passes a measured duration to the observer. The caller must hold no lock, because the
// observer is user code. A panic of the observer is logged.
func (c *Core) Record(ctx context.Context, op observe.Operation, q observe.Quantity, d time.Duration) {
	if c.recorder == nil {
		return
	}
	defer c.containObserver(op, q.String())
	c.recorder.Record(ctx, op, q, max(d, 0))
}
