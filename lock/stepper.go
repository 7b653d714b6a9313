package lock

import (
	"context"
	"time"
)

// stepper runs a step after each signal, and again after the time that the step returns. Signals
// that come during a step are one signal.
type stepper chan struct{}

func newStepper() stepper { return make(stepper, 1) }

func (s stepper) signal() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// run calls step until it is idle or ctx ends. The first call comes at once.
func (s stepper) run(ctx context.Context, step func() (wait time.Duration, idle bool)) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-s:
		}
		wait, idle := step()
		if idle {
			return
		}
		timer.Reset(wait)
	}
}
