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

// Bus carries events: a *Live or a *Durable.
type Bus interface {
	// Subscriber makes a subscriber. On a Durable bus the name is its consumer group: subscribers of one name share the
	// work, in this process and others. On a Live bus it is for logs and metrics; every subscriber gets everything.
	Subscriber(name string, opts SubscriberOptions) (*Subscriber, error)
	// Close ends the bus in this process, and waits for what runs on it until ctx ends.
	Close(ctx context.Context) error

	common() *busCommon
	send(ctx context.Context, m *message) error
}

// busCommon is what both buses have.
type busCommon struct {
	points   failpoint.Points
	core     *core.Core
	name     string // of the bus, for observers
	source   string
	maxBytes int
	trace    TraceContext
	foreign  bool
	stats    busStats
	life     lifetime
	still    func() ([]Group, time.Time) // groups that no process runs, and when this one has looked; nil: a live bus
}

// message is an event on its way out.
type message struct {
	channel, id string
	text        string // the envelope
	digest      string // of the content, when the producer gave the id
	receipt     *Receipt
	chosenID    bool // the producer gave the id: the same again is the same event
	delay       time.Duration
	at          time.Time
	confirm     Confirmation
}

// PublishOption varies one Publish.
type PublishOption struct {
	set func(*message, *envelope)
}

// ID gives the event's id. On a Durable bus an id that was published to the same channel within DurableOptions.Dedup is not
// published again: Publish returns nil and changes nothing. With another type, source or data it is ErrConflict.
func ID(id string) PublishOption {
	return PublishOption{func(m *message, e *envelope) { e.ID, m.chosenID = id, true }}
}

// Into has Publish say in receipt which ID the event got and, on a Durable bus, its Position. It is written before Publish
// returns nil, and not otherwise.
func Into(receipt *Receipt) PublishOption {
	return PublishOption{func(m *message, _ *envelope) { m.receipt = receipt }}
}

// Delay publishes later, by the server's clock. Durable.
func Delay(d time.Duration) PublishOption {
	return PublishOption{func(m *message, _ *envelope) { m.delay = d }}
}

// At publishes at a time, by the server's clock; at once if it has passed. Durable.
func At(t time.Time) PublishOption { return PublishOption{func(m *message, _ *envelope) { m.at = t }} }

// Source says who the event is from, instead of the bus' option.
func Source(source string) PublishOption {
	return PublishOption{func(_ *message, e *envelope) { e.Source = source }}
}

// Confirmation says how safe an event must be before Publish returns nil.
type Confirmation struct {
	Replicas int           // replicas that must have it (WAIT)
	Disk     bool          // it must be on the primary's disk (WAITAOF: Redis 7.2, Valkey); an error where that is missing
	Timeout  time.Duration // default 1 s
}

// Confirm makes Publish wait until copies of the event are safe, on a connection of its own: ErrUnconfirmed if they are
// not in time. Durable.
func Confirm(c Confirmation) PublishOption {
	return PublishOption{func(m *message, _ *envelope) { m.confirm = c }}
}

func publish(ctx context.Context, bus Bus, eventType, channel string, data any, opts []PublishOption) (err error) {
	b := bus.common()
	if b.core.Observed() {
		var end func(error)
		ctx, end = b.observe(ctx, "publish")
		defer func() { end(err) }()
	}
	m, err := newMessage(ctx, bus, eventType, channel, data, opts)
	if err != nil {
		return err
	}
	if err = bus.send(ctx, m); err != nil {
		b.stats.publishErrors.Add(1)
		return fmt.Errorf("events: publish: %w", err)
	}
	b.stats.published.Add(1)
	return nil
}

// observe begins an observed operation. The observer is user code: its panic is logged, and the operation continues.
func (b *busCommon) observe(ctx context.Context, verb string) (context.Context, func(error)) {
	contain := func(call func()) {
		if err := guard(func() error { call(); return nil }); err != nil {
			b.core.Warn("events: the observer panicked", b.name, "bus", b.name, "verb", verb, "error", err)
		}
	}

	end := func(error) {}
	contain(func() { ctx, end = b.core.Start(ctx, observe.Operation{Pattern: "events", Name: b.name, Verb: verb}) })
	return ctx, func(err error) { contain(func() { end(err) }) }
}

// newMessage makes the envelope of an event and checks it.
func newMessage(ctx context.Context, bus Bus, eventType, channel string, data any, opts []PublishOption) (*message, error) {
	b := bus.common()
	if err := b.life.open(); err != nil {
		return nil, fmt.Errorf("events: publish: %w", err)
	}
	m := message{channel: channel}
	e := envelope{Type: eventType, Subject: channel, Source: b.source, Time: time.Now()}
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
		return nil, fmt.Errorf("events: publish: the data has no JSON form: %w", err)
	}
	if b.trace != nil {
		if err = guard(func() error { e.TraceParent, e.TraceState = b.trace.Inject(ctx); return nil }); err != nil {
			return nil, fmt.Errorf("events: publish: inject the trace context: %w", err)
		}
	}

	text := appendEnvelope(make([]byte, 0, 256+len(e.Data)), &e)
	if len(text) > b.maxBytes {
		return nil, fmt.Errorf("events: publish: %w", fault.New(fault.ErrTooLarge, fmt.Errorf("the event has %d bytes, the limit is %d", len(text), b.maxBytes), "store the data elsewhere and publish where it is"))
	}
	m.id, m.text = e.ID, string(text)
	if m.chosenID {
		m.digest = digestOf(&e)
	}
	return &m, nil
}

const maxName = 1024

func (e *envelope) check() error {
	for _, part := range []struct{ what, value string }{{"channel", e.Subject}, {"type", e.Type}, {"id", e.ID}, {"source", e.Source}} {
		switch {
		case part.value == "":
			return fmt.Errorf("events: publish: the %s is empty", part.what)
		case len(part.value) > maxName:
			return fmt.Errorf("events: publish: the %s has %d bytes, the limit is %d", part.what, len(part.value), maxName)
		case !utf8.ValidString(part.value):
			return fmt.Errorf("events: publish: the %s is not UTF-8", part.what)
		}
	}
	return nil
}

var errDurableOnly = errors.New("Delay, At and Confirm are set: a live bus can't honour them: leave them out, or use a durable bus")
