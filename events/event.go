package events

import (
	"context"
	"strconv"
	"strings"
	"time"
)

// Event is an event as a handler receives it.
type Event[T any] struct {
	ID      string // unique per event; chosen by the producer, or random
	Type    string
	Source  string
	Channel string
	Time    time.Time // time of publication, by the producer's clock
	// Position is the place of the event in a durable bus, for [FromPosition]. It is "" on a live
	// bus.
	Position string
	// Attempt is the number of this attempt, from 1. It is always 1 on a live bus.
	Attempt int
	// Fence grows with every change of the partition's owner. A store can remember the highest
	// Fence per channel and refuse lower ones. It then refuses writes of a handler that continues
	// after its lease has ended. Fence is 0 on a live bus.
	Fence int64
	Data  T
}

// Topic is a type of event and the Go type of its data. It is a small value that can be copied. Use
// [NewTopic].
type Topic[T any] struct{ eventType string }

// NewTopic returns the topic of an event type, such as "user.created". The data is encoded as JSON.
func NewTopic[T any](eventType string) Topic[T] { return Topic[T]{eventType} }

// Type returns the event type of the topic.
func (t Topic[T]) Type() string { return t.eventType }

// Publish sends an event to a channel of a bus. It takes one round trip.
//
// On a Live bus, the subscribers that run now receive the event at most once. On a Durable bus, the
// event is stored when Publish returns nil, and every group that exists handles it (E1).
//
// Errors: [ErrClosed], [ErrConflict], [ErrPartitions], [ErrUnconfirmed]; redstart.ErrTooLarge;
// redstart.ErrFull (the server is out of memory); redstart.ErrUnavailable;
// redstart.ErrIndeterminate (the event may be published: publish it again with the same ID).
func (t Topic[T]) Publish(ctx context.Context, bus Bus, channel string, data T, opts ...PublishOption) error {
	return publish(ctx, bus, t.eventType, channel, data, opts)
}

// Handle registers a handler for the events of this topic on the channels that match pattern.
// Patterns follow the glob rules of Redis: * ? [a-z] and \. All matching handlers of an event run
// in the order of their registration, up to the first error. Register handlers before Run.
//
// On a Durable bus, nil acknowledges the event. An error retries the event with backoff. [Discard]
// makes it a dead letter at once. A panic is an error. [MaxAttempts] and [Backoff] change the
// retries for this handler. On a Live bus, errors are counted and reported to
// SubscriberOptions.OnError.
//
// On a Live bus, a pattern receives less traffic if it begins with literal segments. A segment ends
// at : . or /. The pattern "*" receives all events. The pattern "users:*" receives the events of
// users: and a 16th of the others. The pattern "users:42:*" receives the events of users:42: and a
// 256th of the others.
func (t Topic[T]) Handle(sub *Subscriber, pattern string, handle func(context.Context, Event[T]) error, opts ...HandleOption) error {
	return sub.handle(pattern, t.eventType, func(ctx context.Context, d *delivery) error {
		e := Event[T]{ID: d.ID, Type: d.Type, Source: d.Source, Channel: d.Subject, Time: d.Time,
			Position: d.position, Attempt: d.attempt, Fence: d.fence}
		if err := d.decode(&e.Data); err != nil {
			return err
		}
		return handle(ctx, e)
	}, opts)
}

// delivery is one event that is passed to handlers.
type delivery struct {
	envelope
	text     string // the received text, if parseQuick has read it and decode may need parseAny
	foreign  bool
	position string
	attempt  int
	fence    int64
	failedIn *handler // the handler that runs, or whose error ended the attempt

	lagRecorded bool
}

// storedAt returns when the event was stored on a durable bus, by the server's clock, or published
// on a live bus, by the producer's clock. It is zero if the event does not say when.
func (d *delivery) storedAt() time.Time {
	if ms, _, durable := strings.Cut(d.position, "-"); durable {
		if n, err := strconv.ParseInt(ms, 10, 64); err == nil {
			return time.UnixMilli(n)
		}
	}
	return d.Time
}
