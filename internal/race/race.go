// Package race asks several servers the same question and takes the first good answer.
package race

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Stagger is how long one server is given before the next one is asked too. A frozen server accepts connections and
// answers nothing: it must not use up the time of the call.
const Stagger = 50 * time.Millisecond

// First asks n servers, each a Stagger after the one before or as soon as one has failed, and returns the first good
// answer. The others are cancelled, and have ended when it returns.
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
