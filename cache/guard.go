package cache

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"runtime/pprof"
	"time"

	"github.com/redstart-go/redstart/internal/flight"
)

// source is where a job's values come from: a Loader, or a BatchLoader.
type source[V any] struct {
	one  Loader[V]
	many BatchLoader[V]
}

// answer is what a source has for one key.
type answer[V any] struct {
	value   V
	missing bool // the source has none: err says so
	err     error
}

// load asks the source for keys. The error is that of the load as a whole: all answers have it.
func (s source[V]) load(ctx context.Context, keys []string) ([]answer[V], error) {
	answers := make([]answer[V], len(keys))
	if s.one != nil {
		a := &answers[0]
		a.value, a.err = s.one(ctx, keys[0])
		a.missing = errors.Is(a.err, ErrNotFound)
		if a.missing {
			return answers, nil
		}
		return answers, a.err
	}

	values, err := s.many(ctx, keys)
	if err == ErrNotFound { // not errors.Is: a wrapped one is about some of the keys, and there is no telling which
		values, err = nil, nil
	}
	for i, key := range keys {
		v, there := values[key]
		switch {
		case err != nil:
			answers[i].err = err
		case !there:
			answers[i].missing, answers[i].err = true, ErrNotFound
		default:
			answers[i].value = v
		}
	}
	return answers, err
}

// callSource runs the source on a goroutine of its own, so that a loader which does not look at its context delays no caller beyond
// LoadTimeout.
func (c *Cache[V]) callSource(ctx context.Context, source source[V], keys []string, adjust *adjustment) ([]answer[V], error) {
	ctx, cancel := context.WithTimeoutCause(adjust.in(ctx, c, keys), c.opt.LoadTimeout, ErrLoadTimeout)
	defer cancel()
	defer adjust.ended.Store(true)
	began := time.Now()

	type outcome struct {
		answers  []answer[V]
		err      error
		panicked *flight.PanicError
	}
	done := make(chan outcome, 1)
	run := func(context.Context) {
		o := outcome{err: flight.ErrGoexit}
		defer func() {
			if p := recover(); p != nil {
				o.panicked = &flight.PanicError{Value: p, Stack: debug.Stack()}
			}
			done <- o
		}()
		pprof.SetGoroutineLabels(ctx)
		o.answers, o.err = source.load(ctx, keys)
	}
	if !c.life.group.Go(c.loadName, run) {
		return failedAnswers[V](len(keys), errClosed), errClosed
	}
	var o outcome
	select {
	case o = <-done:
	case <-ctx.Done():
		o.err = context.Cause(ctx)
	}

	c.count.add(cLoads, 1)
	c.count.add(cLoadNanos, int64(time.Since(began)))
	if o.panicked != nil {
		c.count.add(cLoadErrors, 1)
		panic(o.panicked)
	}
	if o.err == nil {
		return o.answers, nil
	}
	c.count.add(cLoadErrors, 1)
	if ctx.Err() != nil && context.Cause(ctx) == ErrLoadTimeout { // the very one that we gave
		// Not with %w: the deadline was ours, no caller's (A1).
		o.err = fmt.Errorf("%w: no value within %v: %v", ErrLoadTimeout, c.opt.LoadTimeout, o.err) //nolint:errorlint // see above
		o.answers = nil
	}
	if o.answers == nil {
		o.answers = failedAnswers[V](len(keys), o.err)
	}
	return o.answers, o.err
}

func failedAnswers[V any](n int, err error) []answer[V] {
	answers := make([]answer[V], n)
	for i := range answers {
		answers[i].err = err
	}
	return answers
}
