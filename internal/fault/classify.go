package fault

import (
	"context"
	"errors"
	"net"

	"github.com/redis/rueidis"
)

// What to do next, by what happened.
const (
	stepRetry      = "retry later"
	stepReach      = "check that the server runs and that REDIS_URL points to it, then retry"
	stepUnknown    = "it may have been executed: read before writing again"
	stepClosed     = "the client is closed or lost its last server: retry later unless you closed it"
	stepEncrypted  = "the server speaks TLS on this port: use a rediss:// URL"
	stepTimeout    = "the server did not answer in time: retry later, or raise the deadline"
	stepUnreadable = "another program or release wrote it, or the server is not a supported one"
)

// Classify turns any error of a rueidis call into one that errors.Is finds by class and that
// unwraps to the original. wrote says that the call was a write and may have been sent; it must be
// false for reads and for what certainly never left.
//
//   - nil, rueidis.Nil and what is classified already come back as they are.
//   - A context error is taken to be the caller's own: it is ErrIndeterminate with wrote, and comes
//     back as it is otherwise. What stems from somebody else's context goes through Foreign.
//   - An answer of the server is never ErrIndeterminate. An answer that fits no class (a syntax
//     error, BUSYGROUP, NOGROUP) is of none.
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

// Foreign is Classify for an error that holds a context error although the caller's context has not
// ended: another caller's deadline that ended the connection or the dial that both waited for. It
// is ErrUnavailable, or ErrIndeterminate with wrote, and errors.Is does not find the context error.
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

// lost is a connection that ended, or never answered, for whatever reason.
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

// ownContext reports whether err is a context error of the call itself. Timeouts of package net
// claim to be context.DeadlineExceeded whoever's the deadline was; they don't count.
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
