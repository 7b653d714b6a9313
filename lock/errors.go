package lock

import (
	"errors"
	"fmt"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/fault"
)

var (
	// ErrNotAcquired reports that another holder had the lock until [Options.Wait] ended. The
	// server answered: if it does not answer, the error has one of the classes of package redstart.
	ErrNotAcquired = errors.New("lock: not acquired")

	// ErrLost reports that the lock ended before it was released. It is the cause of the end of
	// [Lock.Context], and [Lock.Release] returns it. Another process may hold the lock already:
	// stop the work. Writes that are in flight need the fencing token.
	ErrLost = errors.New("lock: lost")

	// ErrNotReplicated reports that fewer than [Options.MinReplicas] replicas confirmed the lock in
	// time. The lock was released.
	ErrNotReplicated = errors.New("lock: not replicated")
)

// The reasons for a lost lock.
var (
	errLapsed  = fmt.Errorf("%w: it was not renewed before its lease ended", ErrLost)
	errGone    = fmt.Errorf("%w: the server has another owner or none (expired, deleted, flushed or failed over)", ErrLost)
	errMaxHold = fmt.Errorf("%w: it was held for MaxHold", ErrLost)
	errClosed  = fmt.Errorf("%w: the client was closed", ErrLost)
)

// errReleased is the cause of the end of a context after a normal release.
var errReleased = errors.New("lock: released")

// errClosing is the error of a call after the client was closed.
func errClosing(verb string, t *target) error {
	return fmt.Errorf("lock: %s %s: %w: the client is closed", verb, quoted(t.name), redstart.ErrUnavailable)
}

// tooLong is the error of a name or key above MaxName.
func tooLong(what, name string) error {
	return fmt.Errorf("lock: %s %s: %w", what, quoted(name), fault.New(fault.ErrTooLarge,
		fmt.Errorf("%d bytes long, the limit is %d", len(name), MaxName), "use a shorter one"))
}

// quoted returns a name for an error message: quoted, and at most 64 characters.
func quoted(name string) string {
	if len(name) > 64 {
		return fmt.Sprintf("%.64q…", name)
	}
	return fmt.Sprintf("%q", name)
}
