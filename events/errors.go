package events

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrLost is the cause with which a handler's context ends when this process no longer holds the lease of the
	// event's partition: another process may handle the event now (E2).
	ErrLost = errors.New("events: the partition's lease was lost")
	// ErrStopping is the cause with which a handler's context ends when the subscriber stops and the drain timeout has
	// passed. The event is given back; the attempt does not count (E6).
	ErrStopping = errors.New("events: the subscriber is stopping")
	// ErrHandlerTimeout is the cause with which a handler's context ends after SubscriberOptions.HandlerTimeout. The attempt has failed.
	ErrHandlerTimeout = errors.New("events: the handler took longer than HandlerTimeout")
	// ErrUnconfirmed is returned by Publish with Confirm: the event is in the stream, but fewer copies than asked for
	// confirmed it in time.
	ErrUnconfirmed = errors.New("events: published, but not confirmed by enough replicas")
	// ErrConflict is returned by Publish with an ID that was published to the channel with other content: the event is not stored.
	ErrConflict = errors.New("events: the id was published with other content: give the event an id of its own")
	// ErrPartitions says that the bus was first used with another number of partitions.
	ErrPartitions = errors.New("events: the bus has another number of partitions")
	// ErrRunning is returned where a subscriber must not be running, or must not run twice.
	ErrRunning = errors.New("events: the subscriber is running or has run")
	// ErrClosed is returned by a bus after its Close.
	ErrClosed = errors.New("events: the bus is closed")
	// ErrNotFound is returned for a dead letter or a request without an answer on the other side.
	ErrNotFound = errors.New("events: not found")

	// ErrTopics is returned by Run where another subscriber of the group runs in this process and handles other topics or channels.
	ErrTopics = errors.New("events: another subscriber of the group in this process handles other topics")

	errElsewhere     = errors.New("events: no handler matches here, and other processes of the group handle the event: give all of them the same handlers")
	errTopicsUnknown = errors.New("the topics of the group are not known")
	errUndecodable   = errors.New("undecodable")
)

// Discard wraps an error so that the event becomes a dead letter at once, without further attempts. A nil error is
// a plain "discarded".
func Discard(err error) error {
	if err == nil {
		err = errors.New("discarded")
	}
	return &discardError{err}
}

type discardError struct{ err error }

func (e *discardError) Error() string { return e.err.Error() }
func (e *discardError) Unwrap() error { return e.err }

// RetryAfter wraps an error so that the next attempt comes d after this one, instead of after the Backoff: a server that
// asked for patience said how much. The attempt counts. A nil error is a plain "retry"; a negative d is 0.
func RetryAfter(err error, d time.Duration) error {
	if err == nil {
		err = errors.New("retry")
	}
	return &retryAfterError{err, max(d, 0)}
}

type retryAfterError struct {
	err   error
	after time.Duration
}

func (e *retryAfterError) Error() string { return e.err.Error() }
func (e *retryAfterError) Unwrap() error { return e.err }

// PanicError is what a panic of user code becomes: of a handler, a failed attempt; of MarshalJSON, an error of Publish.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("events: user code panicked: %v", e.Value) }
