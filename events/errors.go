package events

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrLost is the cause with which a handler's context ends when this process loses the lease of
	// the event's partition. Another process may handle the event from then on (E2).
	ErrLost = errors.New("events: the lease of the partition was lost")
	// ErrStopping is the cause with which a handler's context ends when the subscriber stops and
	// DrainTimeout has passed. The event is returned to the group, and the attempt does not count
	// (E6).
	ErrStopping = errors.New("events: the subscriber is stopping")
	// ErrHandlerTimeout is the cause with which a handler's context ends after
	// SubscriberOptions.HandlerTimeout. The attempt has failed.
	ErrHandlerTimeout = errors.New("events: the handler ran longer than HandlerTimeout")
	// ErrUnconfirmed is returned by Publish with [Confirm]. The event is in the stream, but fewer
	// copies than required confirmed it in time.
	ErrUnconfirmed = errors.New("events: the event was published, but too few replicas confirmed it in time")
	// ErrConflict is returned by Publish with an [ID] that was published to the channel with other
	// content. The event is not stored.
	ErrConflict = errors.New("events: the id was published with other content: give each event its own id")
	// ErrPartitions is returned when the bus was first used with another number of partitions.
	ErrPartitions = errors.New("events: the bus has another number of partitions: use the stored number, or a new bus name")
	// ErrRunning is returned by a call that requires a subscriber or group that does not run, and
	// by a second Run.
	ErrRunning = errors.New("events: the subscriber is running or has run")
	// ErrClosed is returned by a bus after its Close.
	ErrClosed = errors.New("events: the bus is closed")
	// ErrNotFound is returned when there is no dead letter, delayed event or group of that name.
	ErrNotFound = errors.New("events: not found")
	// ErrTopics is returned by Run when another subscriber of the group runs in this process with
	// other handlers.
	ErrTopics = errors.New("events: another subscriber of the group in this process has other handlers: give both the same")
	// ErrOverflow is returned by Run of a live subscriber with the policy [Disconnect] when its
	// queue is full.
	ErrOverflow = errors.New("events: the queue of the subscriber is full: raise Queue, or make the handlers faster")
	// ErrRemote is returned by [Request] when the handler on the other side returned an error. It
	// wraps no other error.
	ErrRemote = errors.New("events: the other side answered with an error")
	// ErrNoAnswer is returned by [Request] when its context ends before an answer arrives.
	ErrNoAnswer = errors.New("events: no answer")

	errElsewhere = errors.New("events: no handler of this process matches, but " +
		"another process of the group handles the event: give all processes the same handlers")
	errTopicsUnknown = errors.New("the handlers of the group's other processes are unknown")
	errUndecodable   = errors.New("undecodable")
)

// Discard wraps an error of a handler. The event becomes a dead letter at once, without further
// attempts. A nil error becomes the text "discarded".
func Discard(err error) error {
	if err == nil {
		err = errors.New("discarded")
	}
	return &discardError{err}
}

type discardError struct{ err error }

func (e *discardError) Error() string { return e.err.Error() }
func (e *discardError) Unwrap() error { return e.err }

// RetryAfter wraps an error of a handler. The next attempt starts d after this one, instead of
// after the Backoff. Use it when a remote server names the time to wait. The attempt counts. A nil
// error becomes the text "retry". A negative d is 0.
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

// PanicError is the error that replaces a panic of user code. A panic of a handler is a failed
// attempt. A panic of MarshalJSON is an error of Publish.
type PanicError struct {
	Value any    // the value of the panic
	Stack []byte // the stack of the goroutine
}

// Error returns the value of the panic, without the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("events: user code panicked: %v", e.Value) }
