// Package fault sorts everything that can go wrong between us and a server into the few classes
// that a caller can act on (guarantee A2). Package redstart re-exports the classes.
//
// The question that decides between ErrUnavailable and ErrIndeterminate is whether the server may
// have executed a write whose answer we don't have. An answer, even an error, settles it; so does
// an error from before the command could leave (a refused dial, an open breaker). All other losses
// leave it open when a write was on its way, and then nothing may send it again on its own (A3).
package fault

import (
	"context"
	"errors"
	"strings"
)

// The classes. errors.Is finds them in everything that Classify and New return.
var (
	// ErrUnavailable: no server could be reached or none can serve now, and nothing was changed.
	// Retry later.
	ErrUnavailable = errors.New("redstart: server unavailable")
	// ErrIndeterminate: a write was sent and its answer was lost. It may have been executed, or
	// may yet be.
	ErrIndeterminate = errors.New("redstart: outcome unknown")
	// ErrDenied: the server or we refused the other's identity, or the ACL refuses the command,
	// the key or the channel.
	ErrDenied = errors.New("redstart: denied")
	// ErrFull: the server has reached maxmemory and evicts nothing.
	ErrFull = errors.New("redstart: server out of memory")
	// ErrCorrupt: what is stored, or what was answered, is not what we write or expect.
	ErrCorrupt = errors.New("redstart: unreadable data")
	// ErrTooLarge: a value or a reply is beyond a limit of ours or of the server's.
	ErrTooLarge = errors.New("redstart: too large")
)

// Error is a classified error.
type Error struct {
	verdict       // the step may be empty
	cause   error // what happened; may be nil
}

// New returns an error of a class (one of the above, or nil) with what happened and the next step
// for whoever reads it. The cause is what errors.Is and errors.As go on to; nil is allowed.
func New(class, cause error, step string) error {
	return &Error{verdict: verdict{class, step}, cause: cause}
}

// Error says the class, the cause and the next step, on one line and without a secret.
func (e *Error) Error() string {
	var b strings.Builder
	switch {
	case e.class != nil:
		b.WriteString(e.class.Error())
	default:
		b.WriteString("redstart: the server refused")
	}
	if e.cause != nil {
		b.WriteString(": ")
		b.WriteString(clean(e.cause.Error()))
	}
	if e.step != "" {
		b.WriteString("; ")
		b.WriteString(e.step)
	}
	return b.String()
}

// Is reports whether target is the class; the cause is found through Unwrap.
func (e *Error) Is(target error) bool { return e.class != nil && target == e.class }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// hideContext wraps a cause that carries somebody else's deadline or the dialer's: it is found for
// what it is, but not as a context error, because the caller's own context has not ended (A1).
type hideContext struct{ err error }

func (h hideContext) Error() string      { return h.err.Error() }
func (h hideContext) As(target any) bool { return errors.As(h.err, target) }
func (h hideContext) Is(target error) bool {
	return target != context.Canceled && target != context.DeadlineExceeded && errors.Is(h.err, target)
}
