// Package fault sorts the errors of calls to a server into the few classes that a caller can act on
// (A2). Package redstart exports the classes.
//
// ErrUnavailable and ErrIndeterminate differ in one question: may the server have executed a write
// whose answer is missing? After an answer, even an error, the outcome is known. It is also known
// if the command was not sent, because a dial was refused or a breaker is open. After any other
// loss of a write, the outcome is unknown, and the library must not send the write again (A3).
package fault

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// The classes. errors.Is finds them in all errors of Classify and New.
var (
	// ErrUnavailable reports that no server could be reached, or that none can serve now. Nothing
	// was changed. Retry later.
	ErrUnavailable = errors.New("redstart: server unavailable")
	// ErrIndeterminate reports that a write was sent and its answer was lost. The write may have
	// been executed, or may be executed later.
	ErrIndeterminate = errors.New("redstart: outcome unknown")
	// ErrDenied reports that one side refused the identity of the other, or that the ACL refuses
	// the command, the key or the channel.
	ErrDenied = errors.New("redstart: denied")
	// ErrFull reports that the server has reached maxmemory and evicts nothing.
	ErrFull = errors.New("redstart: server out of memory")
	// ErrCorrupt reports stored data or a reply in a form that the library does not write or
	// expect.
	ErrCorrupt = errors.New("redstart: unreadable data")
	// ErrTooLarge reports a value or a reply beyond a limit of the library or the server.
	ErrTooLarge = errors.New("redstart: too large")
)

// Error is a classified error.
type Error struct {
	verdict       // its step may be empty
	cause   error // what happened; may be nil
}

// New returns an error of a class with its cause and the next step for the reader. class is one of
// the errors above, or nil. errors.Is and errors.As continue with cause, which may be nil.
func New(class, cause error, step string) error {
	return &Error{verdict: verdict{class, step}, cause: cause}
}

// Refused returns the error of a call that is not sent, because earlier calls failed. refusal says
// so, and last is the last failure: the result has its text and its next step. The class is
// ErrUnavailable. errors.Is does not find last, which may have another class.
func Refused(refusal, last error) error {
	step := stepRetry
	last = Foreign(last, false)
	if e, ok := errors.AsType[*Error](last); ok {
		step = e.step
		if e.cause != nil {
			last = e.cause
		}
	}
	return New(ErrUnavailable, fmt.Errorf("%w: %s", refusal, last.Error()), step)
}

// Error returns the class, the cause and the next step, on one line and without secrets.
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

// Is reports whether target is the class. The cause is found through Unwrap.
func (e *Error) Is(target error) bool { return e.class != nil && target == e.class }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// hideContext wraps a cause that holds a deadline of another caller or of the dialer. errors.Is
// finds the cause, but no context error, because the caller's own context has not ended (A1).
type hideContext struct{ err error }

func (h hideContext) Error() string      { return h.err.Error() }
func (h hideContext) As(target any) bool { return errors.As(h.err, target) }
func (h hideContext) Is(target error) bool {
	return target != context.Canceled && target != context.DeadlineExceeded && errors.Is(h.err, target)
}
