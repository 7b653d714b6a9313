package events

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode/utf8"
)

type result uint8

const (
	handled result = iota
	unhandled
	skipped
	failed
	deferred // left to another version of the group
)

// outcome is how an attempt ended, with the answers of all user code. It is made without a lock, so
// that no user code runs under the lock.
type outcome struct {
	result  result
	eventID string
	failure failure
}

// failure is why an attempt failed, and what happens to its event.
type failure struct {
	err     error
	cause   string
	discard bool // no further attempt
	delay   time.Duration
	limit   int // maximum of attempts

	uncounted bool // the attempt was counted, and did not happen
}

var errUnhandled = errors.New("events: no handler matches")

// attempt handles one event, and asks user code what to do if that fails. It runs without a lock.
// If user code calls runtime.Goexit, the goroutine ends and exited gives the outcome.
func (c *partitionConsumer) attempt(channel string, e *queuedEvent, o *outcome) {
	if e.skip {
		*o = outcome{result: skipped}
		return
	}
	d := delivery{position: e.id, attempt: e.attempts, fence: c.fence}
	var err error
	if e.field == "?" {
		err = undecodable("the entry was written by another program", nil)
	} else {
		err = d.parse(e.body, c.d.foreign)
	}
	d.Subject = channel

	concluded := false
	defer func() {
		if !concluded { // runtime.Goexit
			*o = c.run.sub.exited(d.failedIn, e.attempts)
			c.run.sub.failed(c.ctx, &d, errGoexit)
		}
	}()
	some := true
	if err == nil && c.run.sub.exhausted(&d) {
		concluded = true
		*o = outcome{result: failed, failure: failure{err: errInterrupted, cause: errInterrupted.Error(), discard: true, uncounted: true}}
		return
	}
	if err == nil {
		some, err = c.dispatch(&d)
	}
	concluded = true
	switch {
	case err != nil:
		if c.ctx.Err() == nil || !errors.Is(context.Cause(c.ctx), ErrStopping) {
			c.run.sub.failed(c.ctx, &d, err)
		}
		*o = outcome{result: failed, failure: c.run.sub.judge(d.failedIn, e.attempts, err)}
	case !some:
		*o = c.unhandled(&d)
	default:
		*o = outcome{result: handled}
	}
	o.eventID = d.ID
}

// dispatch runs the handlers of an event within HandlerTimeout.
func (c *partitionConsumer) dispatch(d *delivery) (some bool, err error) {
	ctx, limit := c.ctx, c.run.sub.opt.HandlerTimeout
	if limit <= 0 {
		return c.run.sub.dispatch(ctx, d)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, ErrHandlerTimeout)
	defer cancel()
	if some, err = c.run.sub.dispatch(ctx, d); err != nil && errors.Is(context.Cause(ctx), ErrHandlerTimeout) {
		err = errors.Join(ErrHandlerTimeout, err)
	}
	return some, err
}

// judge asks the error and the Backoff what happens to an event after a failed attempt.
func (s *Subscriber) judge(h *handler, attempts int, err error) (f failure) {
	f.err, f.cause = err, cause(err)
	backoff := s.opt.Backoff
	if f.limit = s.limitOf(h); h != nil && h.backoff != nil {
		backoff = h.backoff
	}
	asked := guard(func() error {
		if after, ok := errors.AsType[*retryAfterError](err); ok {
			f.delay = after.after
			return nil
		}
		if _, f.discard = errors.AsType[*discardError](err); !f.discard {
			f.delay = max(backoff(max(attempts, 1)), 0)
		}
		return nil
	})
	if asked != nil {
		s.stats.panics.Add(1)
		f.delay = defaultBackoff(max(attempts, 1))
	}
	return f
}

// exited returns the outcome of an attempt whose user code called runtime.Goexit.
func (s *Subscriber) exited(h *handler, attempts int) outcome {
	return outcome{result: failed, failure: failure{err: errGoexit, cause: errGoexit.Error(),
		delay: defaultBackoff(max(attempts, 1)), limit: s.limitOf(h)}}
}

var defaultBackoff = Exponential(time.Second, 5*time.Minute)

const maxCause = 2048

// cause returns an error's text, bounded.
func cause(err error) string {
	text, _ := errorText(err)
	if p, ok := errors.AsType[*PanicError](err); ok {
		text += "\n" + string(p.Stack)
	}
	return bounded(text)
}

// bounded returns the start of a text, as valid UTF-8.
func bounded(text string) string {
	if len(text) > maxCause {
		text = text[:maxCause]
	}
	return strings.ToValidUTF8(text, string(utf8.RuneError))
}
