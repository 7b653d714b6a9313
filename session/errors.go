package session

import (
	"errors"
	"fmt"
	"strings"

	"github.com/redstart-go/redstart/internal/fault"
)

var (
	// ErrNotFound means that the session does not exist: its token is unknown, malformed or
	// replaced, or the session has expired or was revoked.
	ErrNotFound = errors.New("session: not found")
	// ErrUnreadable means that the session exists, but its data can't be decoded into T. Update and
	// Login then start with empty data. From Load it means that another release, or a key that is
	// not configured, has written the session. Load does not change such a session, and the user
	// stays logged in.
	ErrUnreadable = errors.New("session: unreadable")
	// ErrNoMiddleware means that the request did not pass Manager.Middleware, so it has no session.
	ErrNoMiddleware = errors.New("session: the request did not pass Middleware: wrap the handler with Manager.Middleware")
	// ErrCookieTooLate means that the response header was sent, so the cookie of this call can't
	// reach the browser. Nothing was changed. Make the call before you write the response.
	ErrCookieTooLate = errors.New("session: the response header was sent: make this call before you write the response")
	// ErrConflict means that other writers changed the session before each of 256 attempts of
	// Update.
	ErrConflict = errors.New("session: other writers changed the session before every attempt")
	// ErrTooManySessions means that the user has Options.MaxPerUser sessions, and Options.BeyondMax
	// is RefuseLogin.
	ErrTooManySessions = errors.New("session: the user has too many sessions")
	// ErrEnded is the cause with which the context of Session.Watch ends when its session ends.
	ErrEnded = errors.New("session: the session has ended")
)

// errDegraded is the error of a write in a request that Middleware let pass without its session.
var errDegraded = fault.New(fault.ErrUnavailable,
	errors.New("the session could not be read, so the request is anonymous and read-only"), "retry later")

func unreadable(err error, next string) error {
	return fmt.Errorf("%w: %w", ErrUnreadable, fault.New(fault.ErrCorrupt, err, next))
}

// opError is the error of one operation of a Manager or a Store.
type opError struct {
	op   string
	name string // of the Manager or Store
	err  error
}

func (e *opError) Error() string {
	return fmt.Sprintf("session: %s in %q: %s", e.op, e.name, strings.TrimPrefix(e.err.Error(), "session: "))
}

func (e *opError) Unwrap() error { return e.err }

func (rs *records) failed(op string, err error) error {
	return &opError{op: op, name: rs.name, err: err}
}

func tooLarge(what string, size, limit int) error {
	return fault.New(fault.ErrTooLarge, fmt.Errorf("%s: %d bytes, limit %d bytes", what, size, limit),
		"store large values elsewhere and keep their key in the session")
}
