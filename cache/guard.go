package cache

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"runtime/pprof"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/internal/flight"
)

// source is where the values of a job come from: a Loader or a BatchLoader.
type source[V any] struct {
	one  Loader[V]
	many BatchLoader[V]
}

// answer is the source's answer for one key.
type answer[V any] struct {
	value   V
	missing bool // the source has no value: err is ErrNotFound or wraps it
	err     error
}

// load asks the source for keys. The error is the error of the whole load, which is also in each
// answer.
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
	if err == ErrNotFound { // not errors.Is: a wrapped ErrNotFound concerns some of the keys, and does not say which
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

// outcome is the result of one run of a source.
type outcome[V any] struct {
	answers  []answer[V]
	err      error
	panicked *flight.PanicError
}

// callSource runs the source on this goroutine and returns its outcome.
//
// A source that ignores its context delays no caller beyond LoadTimeout. If the context ends first,
// another goroutine calls instead with the error. When the source returns later, callSource drops
// its result and sets gone. If the source ends this goroutine by runtime.Goexit, callSource also
// calls instead and sets gone.
//
//	this goroutine   source ═══════════════════════════════════ gone
//	another                       context ends: instead(o)
func (c *Cache[V]) callSource(ctx context.Context, source source[V], keys []string, adjust *adjustment,
	gone *bool, instead func(outcome[V])) (o outcome[V]) {
	ctx, cancel := context.WithTimeoutCause(adjust.in(ctx, c, keys), c.opt.LoadTimeout, ErrLoadTimeout)
	began := time.Now()
	var ended atomic.Bool
	end := func(o *outcome[V]) (first bool) {
		if ended.Swap(true) {
			return false
		}
		adjust.ended.Store(true)
		c.sourceEnded(ctx, len(keys), began, o)
		cancel()
		return true
	}
	stop := context.AfterFunc(ctx, func() {
		late := outcome[V]{err: context.Cause(ctx)}
		if !end(&late) {
			return
		}
		if !c.life.group.Work(c.takeoverName, func(context.Context) { instead(late) }) {
			instead(late)
		}
	})

	returned := false
	defer func() {
		if p := recover(); p != nil {
			o = outcome[V]{panicked: &flight.PanicError{Value: p, Stack: debug.Stack()}}
		} else if !returned {
			o.err = flight.ErrGoexit
		}
		stop()
		if !end(&o) {
			*gone = true
		} else if !returned && o.panicked == nil {
			*gone = true
			instead(o)
		}
	}()
	o.answers, o.err = source.load(ctx, keys)
	returned = true
	return o
}

// sourceEnded counts a run of a source and completes its outcome.
func (c *Cache[V]) sourceEnded(ctx context.Context, keys int, began time.Time, o *outcome[V]) {
	c.count.add(cLoads, 1)
	c.count.add(cLoadNanos, int64(time.Since(began)))
	if o.err == nil && o.panicked == nil {
		return
	}
	c.count.add(cLoadErrors, 1)
	if ctx.Err() != nil && context.Cause(ctx) == ErrLoadTimeout { // == because the context of a caller may wrap it
		// No %w: the deadline is the cache's, not a caller's (A1).
		o.err = fmt.Errorf("%w: no value within %v: %v", ErrLoadTimeout, c.opt.LoadTimeout, o.err) //nolint:errorlint // see above
		o.answers = nil
	}
	if o.answers == nil {
		o.answers = failedAnswers[V](keys, o.err)
	}
}

// loadAlone runs the source for one caller, which leaves when its context ends. If the source
// panics, it panics.
func (c *Cache[V]) loadAlone(ctx context.Context, source source[V], key string) answer[V] {
	done := make(chan outcome[V], 1)
	run := func(context.Context) {
		pprof.SetGoroutineLabels(ctx)
		gone := false
		o := c.callSource(ctx, source, []string{key}, &adjustment{}, &gone, func(o outcome[V]) { done <- o })
		if !gone {
			done <- o
		}
	}
	if !c.life.group.Work(c.loadName, run) {
		return answer[V]{err: errClosed}
	}
	o := <-done
	switch {
	case o.panicked != nil:
		panic(o.panicked)
	case o.err != nil:
		return answer[V]{err: o.err}
	}
	return o.answers[0]
}

func failedAnswers[V any](n int, err error) []answer[V] {
	answers := make([]answer[V], n)
	for i := range answers {
		answers[i].err = err
	}
	return answers
}
