package cache

import (
	"context"
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
	// ErrLoadFailed: the load that this call waited for failed in another process. That process has the error; its text is not stored on
	// the server.
	ErrLoadFailed = errors.New("cache: the load failed in another process")
	// ErrOwnKey: a loader asked this cache for the key that it loads, and would have waited for itself until LoadTimeout. It is found
	// where the loader passes its context on.
	ErrOwnKey = errors.New("cache: a loader asks for the key that it loads: call the source instead")
)

// fail wraps the error of a call once: "cache: users: set: …".
func (s *store) fail(verb string, err error) error {
	return fmt.Errorf("cache: %s: %s: %w", s.name, verb, err)
}

var errClosed = fault.New(fault.ErrUnavailable, nil, "the cache or its client is closed")

// ended is the error of a call whose ctx has ended: context.Canceled or context.DeadlineExceeded, and the cause that
// the context gives for it.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}
