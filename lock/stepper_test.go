package lock

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A signal calls the step at once, without the end of the wait. Signals during a step are one
// signal, and the loop ends with an idle step or with the context.
func TestStepperStepsAtTheSignalAndAfterTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, began := newStepper(nil), time.Now()
		var steps []time.Duration
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s.run(t.Context(), func() (time.Duration, bool) {
				steps = append(steps, time.Since(began))
				if len(steps) == 2 {
					s.signal()
					s.signal()
				}
				return time.Hour, len(steps) == 4
			})
		}()
		time.AfterFunc(time.Minute, s.signal)
		<-ended
		want := []time.Duration{0, time.Minute, time.Minute, time.Hour + time.Minute}
		for i, at := range want {
			if len(steps) != len(want) || steps[i] != at {
				t.Fatalf("steps at %v, want %v", steps, want)
			}
		}

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		s.run(ctx, func() (time.Duration, bool) { return time.Hour, false })
	})
}
