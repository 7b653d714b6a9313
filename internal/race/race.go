// Package race asks several servers the same question and returns the first valid answer.
package race

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Stagger is the time between the question to one server and the question to the next. A frozen
// server accepts connections and does not answer. Without a second question, it would use up the
// time of the call.
const Stagger = 50 * time.Millisecond

// First asks n servers. It asks the next server after a Stagger, or as soon as one has failed. It
// returns the first valid answer. It cancels the other questions and waits for their end.
func First[T any](ctx context.Context, n int, ask func(ctx context.Context, i int) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()

	answers := make(chan answer, n)
	next := time.NewTimer(0)
	defer next.Stop()
	var errs []error
	for asked := 0; ; {
		var more <-chan time.Time
		if asked < n {
			more = next.C
		}
		select {
		case <-more:
			i := asked
			asked++
			wg.Go(func() {
				value, err := ask(ctx, i)
				answers <- answer{value, err}
			})
			next.Reset(Stagger)
		case a := <-answers:
			if a.err == nil {
				return a.value, nil
			}
			if errs = append(errs, a.err); len(errs) == n {
				return a.value, errors.Join(errs...)
			}
			next.Reset(0)
		case <-ctx.Done():
			var none T
			return none, ctx.Err()
		}
	}
}
