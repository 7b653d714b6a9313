package redstart

import "github.com/redstart-go/redstart/internal/fault"

// The classes of what can go wrong between this process and a server (guarantee A2). Every error
// of every pattern that stems from the server or the connection is one of these, found by
// errors.Is, and unwraps to the original. Errors that are a pattern's own answer, such as
// lock.ErrNotAcquired, are not among them: "no" and "the server failed" are different results.
var (
	// ErrUnavailable: no server could be reached, or none can serve now. Nothing was changed; retry
	// later.
	ErrUnavailable error = fault.ErrUnavailable
	// ErrIndeterminate: a write was sent and its answer was lost. It may have been executed, or may
	// yet be until its connection is closed. It is never sent again by itself (guarantee A3).
	ErrIndeterminate error = fault.ErrIndeterminate
	// ErrDenied: authentication failed, a certificate was refused, or the ACL forbids the command,
	// the key or the channel. The message names the rule that is missing where the server tells.
	ErrDenied error = fault.ErrDenied
	// ErrFull: the server has reached its maxmemory and evicts nothing.
	ErrFull error = fault.ErrFull
	// ErrCorrupt: what is stored or what was answered is not what Redstart writes.
	ErrCorrupt error = fault.ErrCorrupt
	// ErrTooLarge: a value is beyond a limit of its pattern's options or of the server.
	ErrTooLarge error = fault.ErrTooLarge
)
