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
	deferred // to another version of the group
)

// outcome is how an attempt ended, with everything that user code has to say about it. It is made without a lock, so that
// what follows under the lock calls no user code.
type outcome struct {
	result  result
	eventID string
	failure failure
}

// failure is why an attempt failed and what shall become of its event.
type failure struct {
	err     error
	cause   string
	discard bool // no further attempt
	delay   time.Duration
	limit   int // of attempts

	uncounted bool // the attempt that failed was counted, and did not happen
}

var errUnhandled = errors.New("events: no handler matches")

// attempt handles one event and asks user code what to do if that fails. It runs without a lock. A runtime.Goexit in
// user code ends the goroutine: the outcome is then that of exited.
func (x *session) attempt(channel string, h *held, o *outcome) {
	if h.skip {
		*o = outcome{result: skipped}
		return
	}
	d := delivery{position: h.id, attempt: h.attempts, fence: x.fence}
	var err error
	if h.field == "?" {
		err = undecodable("the entry was written by another program", nil)
	} else {
		err = d.parse(h.body, x.d.foreign)
	}
	d.Subject = channel

	concluded := false
	defer func() {
		if !concluded { // runtime.Goexit
			*o = x.run.sub.exited(d.failedIn, h.attempts)
			x.run.sub.failed(x.ctx, &d, errGoexit)
		}
	}()
	some := true
	if err == nil && x.run.sub.exhausted(&d) {
		concluded = true
		*o = outcome{result: failed, failure: failure{err: errInterrupted, cause: errInterrupted.Error(), discard: true, uncounted: true}}
		return
	}
	if err == nil {
		some, err = x.dispatch(&d)
	}
	concluded = true
	switch {
	case err != nil:
		if x.ctx.Err() == nil || !errors.Is(context.Cause(x.ctx), ErrStopping) {
			x.run.sub.failed(x.ctx, &d, err)
		}
		*o = outcome{result: failed, failure: x.run.sub.judge(d.failedIn, h.attempts, err)}
	case !some:
		*o = x.unhandled(&d)
	default:
		*o = outcome{result: handled}
	}
	o.eventID = d.ID
}

// dispatch runs the handlers of an event, within HandlerTimeout.
func (x *session) dispatch(d *delivery) (some bool, err error) {
	ctx, limit := x.ctx, x.run.sub.opt.HandlerTimeout
	if limit <= 0 {
		return x.run.sub.dispatch(ctx, d, allHandlers)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, ErrHandlerTimeout)
	defer cancel()
	if some, err = x.run.sub.dispatch(ctx, d, allHandlers); err != nil && errors.Is(context.Cause(ctx), ErrHandlerTimeout) {
		err = errors.Join(ErrHandlerTimeout, err)
	}
	return some, err
}

// judge asks an error, and the Backoff, what shall become of an event whose attempt has failed.
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

// exited is the outcome of an attempt whose user code called runtime.Goexit.
func (s *Subscriber) exited(h *handler, attempts int) outcome {
	return outcome{result: failed, failure: failure{err: errGoexit, cause: errGoexit.Error(), delay: defaultBackoff(max(attempts, 1)), limit: s.limitOf(h)}}
}

var defaultBackoff = Exponential(time.Second, 5*time.Minute)

const maxCause = 2048

// cause is an error's text, bounded, for people.
func cause(err error) string {
	text, _ := errorText(err)
	if p, ok := errors.AsType[*PanicError](err); ok {
		text += "\n" + string(p.Stack)
	}
	return bounded(text)
}

// bounded is the beginning of an error's text, as valid UTF-8.
func bounded(text string) string {
	if len(text) > maxCause {
		text = text[:maxCause]
	}
	return strings.ToValidUTF8(text, string(utf8.RuneError))
}
