package redstart

import (
	"context"
	"errors"

	"github.com/redstart-go/redstart/internal/fault"
)

// The classes of errors that come from the server or the connection (A2). Each such error of each
// pattern has one of these classes, which errors.Is finds, and unwraps to the original error.
// Answers of a pattern, such as lock.ErrNotAcquired, are other errors: "no" and "the server failed"
// are different results.
var (
	// ErrUnavailable: no server can be reached, or none can serve now. Nothing was changed. Retry
	// later.
	ErrUnavailable error = fault.ErrUnavailable
	// ErrIndeterminate: a write was sent and its reply was lost. The server may have executed it,
	// or may execute it until the connection is closed. Redstart never sends it again (A3).
	ErrIndeterminate error = fault.ErrIndeterminate
	// ErrDenied: the login failed, a certificate is not trusted, or the ACL forbids the command,
	// the key or the channel. The message names the missing ACL rule if the server reports it.
	ErrDenied error = fault.ErrDenied
	// ErrFull: the server has reached maxmemory and evicts nothing. The command changed nothing.
	ErrFull error = fault.ErrFull
	// ErrCorrupt: stored data or a reply is not in the format of Redstart.
	ErrCorrupt error = fault.ErrCorrupt
	// ErrTooLarge: a value is above a limit of the pattern's options or of the server.
	ErrTooLarge error = fault.ErrTooLarge
)

// ErrorType returns a short name for the class of an error. The set of names is small and fixed, so
// a name is fit for a label of a metric and for the attribute error.type of OpenTelemetry.
//
// The names are "" for nil, "unavailable", "indeterminate", "denied", "full", "corrupt" and
// "too_large" for the classes of this package, "canceled" and "deadline_exceeded" for the end of
// the caller's context, and "_OTHER" for each other error.
func ErrorType(err error) string {
	if err == nil {
		return ""
	}
	for _, class := range errorTypes {
		if errors.Is(err, class.err) {
			return class.name
		}
	}
	return "_OTHER"
}

var errorTypes = [...]struct {
	err  error
	name string
}{
	{ErrUnavailable, "unavailable"},
	{ErrIndeterminate, "indeterminate"},
	{ErrDenied, "denied"},
	{ErrFull, "full"},
	{ErrCorrupt, "corrupt"},
	{ErrTooLarge, "too_large"},
	{context.Canceled, "canceled"},
	{context.DeadlineExceeded, "deadline_exceeded"},
}
