package session

import (
	"errors"
	"fmt"

	"github.com/redstart-go/redstart/internal/fault"
)

var (
	// ErrNotFound: there is no such session, or no more: unknown, malformed or replaced token, expired or revoked.
	ErrNotFound = errors.New("session: not found")
	// ErrUnreadable: the session exists, but its data can't be decoded into T: Update and Login begin with empty data. From Load it means
	// that another release or a key that is not configured has written the session: it is left alone, and the user is not logged out.
	ErrUnreadable = errors.New("session: unreadable")
	// ErrNoMiddleware: the request did not pass Manager.Middleware, so it has no session.
	ErrNoMiddleware = errors.New("session: the request did not pass Middleware")
	// ErrCookieTooLate: the response's header is out, so the cookie that this call needs could not
	// reach the browser any more. Nothing was changed; call it before writing the response.
	ErrCookieTooLate = errors.New("session: the response has begun: its cookie would be lost")
	// ErrConflict: other writers changed the session before each of many attempts of Update.
	ErrConflict = errors.New("session: changed by others again and again")
	// ErrTooManySessions: the user has Options.MaxPerUser sessions, and Options.BeyondMax is RefuseLogin.
	ErrTooManySessions = errors.New("session: the user has too many sessions")
	// ErrRevoked is the cause with which the context of Session.Watch ends when the session does.
	ErrRevoked = errors.New("session: the session has ended")
)

// errDegraded is what a write meets when the middleware let a request pass without its session.
var errDegraded = fault.New(fault.ErrUnavailable, errors.New("the session could not be read, the request is an anonymous, read-only one"), "retry later")

func unreadable(err error, next string) error {
	return fmt.Errorf("%w: %w", ErrUnreadable, fault.New(fault.ErrCorrupt, err, next))
}

func failed(verb string, err error) error {
	return fmt.Errorf("session: %s: %w", verb, err)
}

func tooLarge(what string, size, limit int) error {
	return fault.New(fault.ErrTooLarge, fmt.Errorf("%s: %d bytes, at most %d", what, size, limit), "keep large things elsewhere and their key here")
}
