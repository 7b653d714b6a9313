package core

import (
	"context"
	"fmt"
	"time"

	"github.com/redstart-go/redstart/observe"
)

// Start starts an observed operation. The caller ends it with the returned function, which is never
// nil.
func (c *Core) Start(ctx context.Context, op observe.Operation) (context.Context, func(error)) {
	if c.opt.Observer == nil {
		return ctx, func(error) {}
	}
	ctx, end := c.opt.Observer.Start(ctx, op)
	if end == nil { // the observer does not need the end
		end = func(error) {}
	}
	return ctx, end
}

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
	defer func() {
		if p := recover(); p != nil {
			c.Warn("redstart: the observer panicked", op.Pattern+"/"+op.Name, "pattern", op.Pattern, "name", op.Name,
				"verb", op.Verb, "quantity", q.String(), "error", fmt.Sprint(p))
		}
	}()
	c.recorder.Record(ctx, op, q, max(d, 0))
}
