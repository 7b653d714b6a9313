package cache

import (
	"context"
	"errors"
	"fmt"

	"github.com/redstart-go/redstart/internal/fault"
)

var (
	// ErrNotFound means that there is no value. Get returns it on a miss. A [Loader] returns or
	// wraps it if the source has no value. GetOrLoad then returns it, and remembers it for
	// NegativeTTL (C8).
	ErrNotFound = errors.New("cache: not found")
	// ErrLoadTimeout means that a load took longer than Options.LoadTimeout.
	ErrLoadTimeout = errors.New("cache: the load took too long")
	// ErrLoadFailed means that this call waited for a load of another process, and that load
	// failed. The other process has the text of the error: it is not stored on the server.
	ErrLoadFailed = errors.New("cache: the load failed in another process")
	// ErrOwnKey means that a loader asks its cache for the key that it loads. The call would wait
	// for itself until LoadTimeout. The cache detects this if the loader passes its context on.
	ErrOwnKey = errors.New("cache: a loader asks for the key that it loads: call the source instead")
)

// fail adds the call to an error: `cache: set in "users": …`.
func (s *store) fail(verb string, err error) error {
	return fmt.Errorf("cache: %s in %q: %w", verb, s.name, err)
}

var errClosed = fault.New(fault.ErrUnavailable, nil, "the cache or its client is closed")

// ended returns the error of a call whose ctx has ended. It wraps context.Canceled or
// context.DeadlineExceeded, and the cause that the context gives.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}
