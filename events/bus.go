package events

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/failpoint"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/observe"
)

// Bus carries events. It is a [*Live] or a [*Durable]; other types can't implement it.
type Bus interface {
	// Subscriber returns a new subscriber. On a Durable bus, name is its consumer group: all
	// subscribers of the group share the work, in this process and in others. On a Live bus, name
	// is for logs and metrics, and every subscriber receives all events.
	Subscriber(name string, opts SubscriberOptions) (*Subscriber, error)
	// Close ends the bus in this process. It waits until everything that runs on the bus has ended,
	// or until ctx ends.
	Close(ctx context.Context) error

	common() *busCommon
	send(ctx context.Context, m *message) error
}

// busCommon holds the fields that both kinds of bus have.
type busCommon struct {
	points   failpoint.Points
	core     *core.Core
	name     string // the label of the bus in metrics and observers
	source   string
	maxBytes int
	trace    TraceContext
	foreign  bool
	stats    busStats
	life     lifetime
	// idleGroups returns the groups that no process runs, and when this process has read them. It
	// is nil on a live bus.
	idleGroups func() ([]Group, time.Time)
}

// message is an event that is being published.
type message struct {
	channel, id string
	text        string // the envelope
	digest      string // of the content, if the producer chose the id
	receipt     *Receipt
	chosenID    bool // the producer chose the id
	delay       time.Duration
	at          time.Time
	confirm     Confirmation
}

// PublishOption changes one Publish. [ID], [Into], [Delay], [At], [Source] and [Confirm] return
// one.
type PublishOption struct {
	set func(*message, *envelope)
}

// ID sets the id of the event. Without it, the event gets a random id. A Durable bus remembers the
// id for DurableOptions.Dedup. When the same event is published to the same channel again, Publish
// returns nil and stores nothing. With another type, source or data, Publish returns [ErrConflict].
func ID(id string) PublishOption {
	return PublishOption{func(m *message, e *envelope) { e.ID, m.chosenID = id, true }}
}

// Into stores the ID of the event and, on a Durable bus, its Position in receipt. Publish writes
// the receipt only if it returns nil.
func Into(receipt *Receipt) PublishOption {
	return PublishOption{func(m *message, _ *envelope) { m.receipt = receipt }}
}

// Delay publishes the event after d, by the server's clock. A negative d is 0. Durable only.
func Delay(d time.Duration) PublishOption {
	return PublishOption{func(m *message, _ *envelope) { m.delay = d }}
}

// At publishes the event at t, by the server's clock. If t has passed, the event is published at
// once. Durable only.
func At(t time.Time) PublishOption { return PublishOption{func(m *message, _ *envelope) { m.at = t }} }

// Source sets the source of the event, in place of the Source option of the bus.
func Source(source string) PublishOption {
	return PublishOption{func(_ *message, e *envelope) { e.Source = source }}
}

// Confirmation says how many copies of an event must exist before Publish returns nil.
type Confirmation struct {
	Replicas int           // replicas that must have the event (WAIT)
	Disk     bool          // the primary must have the event on disk (WAITAOF: Redis 7.2, Valkey); elsewhere an error
	Timeout  time.Duration // default 1 s
}

// Confirm makes Publish wait until the copies of the event exist. Publish uses its own connection
// for that. If the copies do not exist in time, Publish returns [ErrUnconfirmed]. Durable only.
func Confirm(c Confirmation) PublishOption {
	return PublishOption{func(m *message, _ *envelope) { m.confirm = c }}
}

func publish(ctx context.Context, bus Bus, eventType, channel string, data any, opts []PublishOption) (err error) {
	b := bus.common()
	if b.core.Observed() {
		var end func(error)
		ctx, end = b.core.Start(ctx, observe.Operation{Pattern: "events", Name: b.name, Verb: "publish"})
		defer func() { end(err) }()
	}
	m, err := newMessage(ctx, bus, eventType, channel, data, opts)
	if err != nil {
		return err
	}
	if err = bus.send(ctx, m); err != nil {
		b.stats.publishErrors.Add(1)
		return fmt.Errorf("events: publish to %q: %w", channel, err)
	}
	b.stats.published.Add(1)
	return nil
}

// newMessage encodes the envelope of an event and checks it.
func newMessage(ctx context.Context, bus Bus, eventType, channel string, data any,
	opts []PublishOption) (*message, error) {
	b := bus.common()
	if err := b.life.open(); err != nil {
		return nil, fmt.Errorf("events: publish: %w", err)
	}
	m := message{channel: channel}
	e := envelope{Type: eventType, Subject: channel, Source: b.source, Time: b.core.Time().Now()}
	for _, o := range opts {
		o.set(&m, &e)
	}
	if e.ID == "" && !m.chosenID {
		e.ID = newID(e.Time)
	}
	if err := e.check(); err != nil {
		return nil, err
	}

	var err error
	if e.Data, err = marshal(data); err != nil {
		return nil, fmt.Errorf("events: publish to %q: encode the data as JSON: %w", channel, err)
	}
	if b.trace != nil {
		if err = guard(func() error { e.TraceParent, e.TraceState = b.trace.Inject(ctx); return nil }); err != nil {
			return nil, fmt.Errorf("events: publish to %q: inject the trace context: %w", channel, err)
		}
	}

	text := appendEnvelope(make([]byte, 0, 256+len(e.Data)), &e)
	if len(text) > b.maxBytes {
		size := fmt.Errorf("the event has %d bytes, the limit is %d", len(text), b.maxBytes)
		return nil, fmt.Errorf("events: publish to %q: %w", channel,
			fault.New(fault.ErrTooLarge, size, "raise MaxBytes, or store the data elsewhere and publish its address"))
	}
	m.id, m.text = e.ID, string(text)
	if m.chosenID {
		m.digest = digestOf(&e)
	}
	return &m, nil
}

// maxName is the most bytes of a channel, a type, an id, a source or a pattern.
const maxName = 1024

func (e *envelope) check() error {
	for _, part := range []struct{ what, value string }{{"channel", e.Subject}, {"type", e.Type},
		{"id", e.ID}, {"source", e.Source}} {
		switch {
		case part.value == "":
			return fmt.Errorf("events: publish: the %s is empty", part.what)
		case len(part.value) > maxName:
			size := fmt.Errorf("the %s has %d bytes, the limit is %d", part.what, len(part.value), maxName)
			return fmt.Errorf("events: publish: %w", fault.New(fault.ErrTooLarge, size, "use a shorter name"))
		case !utf8.ValidString(part.value):
			return fmt.Errorf("events: publish: the %s is not UTF-8", part.what)
		}
	}
	return nil
}

var errDurableOnly = errors.New("Delay, At and Confirm are set: a live bus can't honour them: leave them out, or use a durable bus")
