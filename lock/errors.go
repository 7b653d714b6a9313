package lock

import (
	"errors"
	"fmt"

	"github.com/redstart-go/redstart"
)

var (
	// ErrNotAcquired: somebody else holds the lock, and did until Wait was over. The server answered; when it
	// did not, the error is one of package redstart's classes.
	ErrNotAcquired = errors.New("lock: not acquired")

	// ErrLost: the lock ended before it was released. It is the cause of a lock's Context and what Release
	// returns then. Somebody else may hold the lock by now: stop, and let the token fence what is on its way.
	ErrLost = errors.New("lock: lost")

	// ErrNotReplicated: fewer than MinReplicas replicas confirmed the lock in time. It was given back.
	ErrNotReplicated = errors.New("lock: not replicated")
)

// Why a lock was lost.
var (
	errLapsed  = fmt.Errorf("%w: it could not be renewed in time", ErrLost)
	errGone    = fmt.Errorf("%w: the server no longer knows us as its owner (expired, deleted, flushed or failed over)", ErrLost)
	errMaxHold = fmt.Errorf("%w: held for MaxHold", ErrLost)
	errClosed  = fmt.Errorf("%w: the client was closed", ErrLost)
)

// errReleased is the cause of a Context whose lock was released in order.
var errReleased = errors.New("lock: released")

// errClosing refuses a call when the client was closed.
func errClosing(verb string, t *target) error {
	return fmt.Errorf("lock: %s %s: %w: the client is closed", verb, quoted(t.name), redstart.ErrUnavailable)
}

// shown is a name as error messages print it: quoted, and cut when it is long.
func quoted(name string) string {
	if len(name) > 64 {
		return fmt.Sprintf("%.64q…", name)
	}
	return fmt.Sprintf("%q", name)
}
