package events

import (
	"context"
	"time"
)

// Event is what a handler gets.
type Event[T any] struct {
	ID      string // unique per event; the producer's, if it gave one
	Type    string
	Source  string
	Channel string
	Time    time.Time // when it was published, by the producer's clock
	// Position is the event's place in a durable bus, for FromPosition; "" on a live bus.
	Position string
	// Attempt is 1 for the first; always 1 on a live bus.
	Attempt int
	// Fence grows with every change of the partition's owner. A store that remembers the highest Fence it has
	// seen per channel, and refuses lower ones, is safe from a handler that outlived its lease. 0 on a live bus.
	Fence int64
	Data  T
}

// Topic is a type of event and the Go type of its data. It is a small value.
type Topic[T any] struct{ eventType string }

// NewTopic returns the topic of a type, such as "user.created". The data travels as JSON.
func NewTopic[T any](eventType string) Topic[T] { return Topic[T]{eventType} }

// Type is the type that the topic was made with.
func (t Topic[T]) Type() string { return t.eventType }

// Publish sends an event to a channel of a bus.
//
// On a Live bus: who is subscribed now gets it, at most once; one round trip. On a Durable bus it is stored when Publish
// returns nil, and every group that exists is going to handle it (E1); one round trip.
//
// Errors: redstart.ErrTooLarge, ErrFull (the server is out of memory: back off), ErrUnavailable, ErrIndeterminate (it may
// have been published: publish again with the same ID to be sure), ErrPartitions, ErrUnconfirmed.
func (t Topic[T]) Publish(ctx context.Context, bus Bus, channel string, data T, opts ...PublishOption) error {
	return publish(ctx, bus, t.eventType, channel, data, opts)
}

// Handle registers a handler for this topic's events on the channels that match pattern (Redis' glob rules: * ? [a-z] \).
// On a Live bus a pattern receives less of the bus the more literal segments it begins with: "*" all of it, "users:*" the channels
// of users: and a 16th of the others, "users:42:*" a 256th of the others. Segments end at : . or /.
// All handlers that match an event run, in the order of their registration. Register before Run.
//
// On a Durable bus nil acknowledges, an error is tried again with backoff, Discard(err) dead-letters. A panic is an
// error. [MaxAttempts] and [Backoff] change how often for this handler, and [Subscriber.Use] wraps handlers. On a Live bus errors are counted and given to SubscriberOptions.OnError.
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

// delivery is one event on its way to the handlers.
type delivery struct {
	envelope
	text     string // as it came, while parseQuick has read it and the data may still turn out to be more than data
	foreign  bool
	position string
	attempt  int
	fence    int64
	failedIn *handler // that runs, or whose error ended the attempt
}
