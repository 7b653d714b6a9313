package cache

import (
	"errors"
	"fmt"
	"time"
)

// A load that stores nothing leaves its outcome on the server for a moment, under the token of its lease, for those who
// wait for it in other processes. Without it each of them would take the lease in turn and learn the same:
//
//	A  lease T ══ load: not found ══ outcome T:n, lease gone
//	B      └ waits for T ─────────────┴ not found
//	C      └ waits for T ─────────────┴ not found
//
// free.lua writes it only while the lease is still held, so that an invalidation which overtook the load voids it too. A
// caller that has not seen T in the lease since its call began takes no notice of it (C1).

// outcomeTTL is longer than a waiter sleeps when it misses a push.
const outcomeTTL = 2 * pollTracked

// An outcome is one byte. It has no text of an error: that may contain data of the source, which would lie on the server.
const (
	outcomeNotFound   = 'n'
	outcomeFailed     = 'e'
	outcomeTimeout    = 't'
	outcomeUnstorable = 'u' // the value can't be stored: each process loads for itself, at once
)

// outcomeOf is what a load that stores nothing leaves to those who wait.
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

// outcomeError is the error that an outcome stands for.
func outcomeError(outcome string, timeout time.Duration) error {
	switch outcome[0] {
	case outcomeNotFound:
		return ErrNotFound
	case outcomeTimeout:
		return fmt.Errorf("%w: no value within %v, in another process", ErrLoadTimeout, timeout)
	}
	return ErrLoadFailed
}
