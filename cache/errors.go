package cache

import (
	"errors"
	"fmt"

	"github.com/redstart-go/redstart/internal/fault"
)

var (
	// ErrNotFound: there is no such value. Get returns it on a miss; a Loader returns it, or wraps it,
	// when the source has none, and GetOrLoad passes it on and remembers it for NegativeTTL (C8).
	ErrNotFound = errors.New("cache: not found")
	// ErrLoadTimeout: a load took longer than LoadTimeout.
	ErrLoadTimeout = errors.New("cache: the load took too long")
)

// fail wraps the error of a call once: "cache: users: set: …".
func (s *store) fail(verb string, err error) error {
	return fmt.Errorf("cache: %s: %s: %w", s.name, verb, err)
}

var errClosed = fault.New(fault.ErrUnavailable, nil, "the client is closed")
