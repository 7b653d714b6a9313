package fault

import (
	"context"
	"errors"
	"net"

	"github.com/redis/rueidis"
)

// The next steps, by cause.
const (
	stepRetry      = "retry later"
	stepReach      = "check that the server runs and that REDIS_URL points to it, then retry"
	stepUnknown    = "it may have been executed: read before writing again"
	stepClosed     = "the client is closed or lost its last server: retry later unless you closed it"
	stepEncrypted  = "the server speaks TLS on this port: use a rediss:// URL"
	stepTimeout    = "the server did not answer in time: retry later, or raise the deadline"
	stepUnreadable = "another program or release wrote it, or the server is not a supported one"
)

// Classify returns err with a class that errors.Is finds. The result unwraps to err. wrote reports
// whether the call was a write that may have been sent. It must be false for reads, and for calls
// that were certainly not sent.
//
//   - nil, rueidis.Nil and classified errors are returned without changes.
//   - A context error counts as the caller's own. With wrote it becomes ErrIndeterminate, else it
//     is returned without changes. Use [Foreign] for errors that stem from another context.
//   - An answer of the server is never ErrIndeterminate. An answer without a class (a syntax error,
//     BUSYGROUP, NOGROUP) has none afterwards.
func Classify(err error, wrote bool) error {
	if err == nil {
		return nil
	}
	if rueidis.IsRedisNil(err) {
		return err
	}
	if classified(err) {
		return err
	}
	if text, ok := answer(err); ok {
		return &Error{verdict: classifyReply(text), cause: err}
	}
	if v, ok := neverSent(err); ok {
		return &Error{verdict: v, cause: hideContext{err}}
	}
	if ownContext(err) {
		if !wrote {
			return err
		}
		return &Error{verdict: verdict{ErrIndeterminate, stepUnknown}, cause: err}
	}
	if unreadable(err) {
		return &Error{verdict: verdict{ErrCorrupt, stepUnreadable}, cause: err}
	}
	return lost(err, wrote)
}

// Foreign is [Classify] for an error that holds a context error although the caller's context has
// not ended. An example is another caller's deadline that ended a shared dial. The result is
// ErrUnavailable, or ErrIndeterminate with wrote. errors.Is does not find the context error in it.
func Foreign(err error, wrote bool) error {
	if err == nil || !carriesContext(err) {
		return Classify(err, wrote)
	}
	if v, ok := neverSent(err); ok {
		return &Error{verdict: v, cause: hideContext{err}}
	}
	if wrote {
		return &Error{verdict: verdict{ErrIndeterminate, stepUnknown}, cause: hideContext{err}}
	}
	return &Error{verdict: verdict{ErrUnavailable, stepRetry}, cause: hideContext{err}}
}

func classified(err error) bool {
	if _, ok := errors.AsType[*Error](err); ok {
		return true
	}
	for _, class := range [...]error{ErrUnavailable, ErrIndeterminate, ErrDenied, ErrFull, ErrCorrupt, ErrTooLarge} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}

// lost classifies the error of a connection that ended or did not answer.
func lost(err error, wrote bool) error {
	if wrote {
		return &Error{verdict: verdict{ErrIndeterminate, stepUnknown}, cause: hideContext{err}}
	}
	step := stepRetry
	switch {
	case errors.Is(err, rueidis.ErrClosing):
		step = stepClosed
	case err.Error() == "received unknown message type: 21": // a TLS alert
		step = stepEncrypted
	case isTimeout(err):
		step = stepTimeout
	}
	return &Error{verdict: verdict{ErrUnavailable, step}, cause: hideContext{err}}
}

// ownContext reports whether err is a context error of the call. Timeouts of package net do not
// count, because each of them matches context.DeadlineExceeded.
func ownContext(err error) bool {
	if !carriesContext(err) {
		return false
	}
	_, ok := errors.AsType[*net.OpError](err)
	return !ok
}

func carriesContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
