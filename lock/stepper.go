package lock

import (
	"context"
	"time"

	timesource "github.com/redstart-go/redstart/internal/clock"
)

// stepper runs a step after each signal, and again after the time that the step returns. Signals
// that come during a step are one signal.
type stepper struct {
	signals chan struct{}
	source  *timesource.Source
}

func newStepper(source *timesource.Source) stepper { return stepper{make(chan struct{}, 1), source} }

func (s stepper) signal() {
	select {
	case s.signals <- struct{}{}:
	default:
	}
}

// run calls step until it is idle or ctx ends. The first call comes at once.
func (s stepper) run(ctx context.Context, step func() (wait time.Duration, idle bool)) {
	timer := s.source.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-s.signals:
		}
		wait, idle := step()
		if idle {
			return
		}
		timer.Reset(wait)
	}
}
