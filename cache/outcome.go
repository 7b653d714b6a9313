package cache

import (
	"errors"
	"fmt"
	"time"
)

// A load that stores nothing leaves its outcome on the server for a short time, under the token of
// its lease. Processes that wait for the load share the outcome. Without it, each of them would
// load in turn:
//
//	A  lease T ══ load: not found ══ outcome T:n, lease gone
//	B      └ waits for T ─────────────┴ not found
//	C      └ waits for T ─────────────┴ not found
//
// free.lua writes the outcome only while the lease is held: an invalidation that overtook the load
// voids it. A caller that did not see T in the lease since its call began ignores it (C1).

// outcomeTTL is longer than the sleep of a waiter that missed a push.
const outcomeTTL = 2 * pollTracked

// An outcome is one byte. It has no text of an error, because that may contain data of the source.
const (
	outcomeNotFound   = 'n'
	outcomeFailed     = 'e'
	outcomeTimeout    = 't'
	outcomeUnstorable = 'u' // the value can't be stored: each process loads for itself, at once
)

// outcomeOf returns the outcome of a load that stores nothing.
func outcomeOf(missing bool, err error) string {
	switch {
	case missing:
		return string(rune(outcomeNotFound))
	case errors.Is(err, ErrLoadTimeout):
		return string(rune(outcomeTimeout))
	case err != nil:
		return string(rune(outcomeFailed))
	}
	return string(rune(outcomeUnstorable))
}

// outcomeError returns the error for an outcome.
func outcomeError(outcome string, timeout time.Duration) error {
	switch outcome[0] {
	case outcomeNotFound:
		return ErrNotFound
	case outcomeTimeout:
		return fmt.Errorf("%w: no value within %v, in another process", ErrLoadTimeout, timeout)
	}
	return ErrLoadFailed
}
