package events

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redstart-go/redstart/observe"
)

// Overflow selects what a live subscriber does with events when its queue is full.
type Overflow uint8

const (
	DropOldest Overflow = iota // drop the event that has waited longest; the default
	DropNewest                 // drop the event that arrives
	Disconnect                 // drop all waiting events and end Run with ErrOverflow
)

// Unhandled selects what a durable subscriber does with an event that no handler matches.
type Unhandled uint8

const (
	// AckUnhandled acknowledges the event and counts it; the default. An event that another version
	// of the group's program handles is not acknowledged: it waits for that version for at most 15
	// min, then it becomes a dead letter.
	AckUnhandled        Unhandled = iota
	DeadLetterUnhandled           // keep the event as a dead letter
)

const (
	// NoMaxAttempts in SubscriberOptions.MaxAttempts, or in [MaxAttempts], retries an event without
	// a limit.
	NoMaxAttempts = -1
	// NoDrainTimeout in SubscriberOptions.DrainTimeout waits for running handlers without a limit.
	NoDrainTimeout time.Duration = -1
	// NoDedup in DurableOptions.Dedup remembers no ids: an event that is published twice is stored
	// twice.
	NoDedup time.Duration = -1
)

// SubscriberOptions configure a Subscriber. The zero value is a good default. An option that the
// kind of bus can't honour is an error of Bus.Subscriber that names the option.
type SubscriberOptions struct {
	// Concurrency is how many channels are handled at the same time. The events of one channel are
	// handled one after the other. Default 16.
	Concurrency int
	// OnGap is called for every known loss of events. It runs on its own goroutine, one call at a
	// time. Its panic is contained.
	OnGap func(Gap)
	// OnError is called for every error of a handler and for every event that can't be decoded. It
	// runs on the goroutine of the handler. Its panic is contained.
	OnError func(ctx context.Context, event Event[[]byte], err error)
	// DrainTimeout is how long running handlers may continue after Run's context ends. Then their
	// context ends with cause ErrStopping. Default 10 s. NoDrainTimeout: no limit.
	DrainTimeout time.Duration

	// MaxAttempts is how often an event is tried before it becomes a dead letter. Durable only.
	// Default 5. NoMaxAttempts: no limit.
	MaxAttempts int
	// Backoff returns the least time between attempt n (from 1) and the next attempt. Durable only.
	// Default Exponential(1 s, 5 min).
	Backoff func(attempt int) time.Duration
	// HandlerTimeout ends a handler's context after this time with cause ErrHandlerTimeout. The
	// attempt then fails. The next attempt starts only after the handler has returned. Durable
	// only. Default 0: no timeout. Without a timeout, a handler that runs longer than 5 min is
	// logged, because its event prevents trimming of the later events of its stream.
	HandlerTimeout time.Duration
	// Unhandled selects what happens to an event that no handler matches. Durable only. Default
	// AckUnhandled.
	Unhandled Unhandled
	// Start is where a group begins that does not exist yet. Durable only. Default FromNow.
	Start Start
	// Inbox is how long the group remembers the ids of events that it has handled. An event with a
	// remembered id is skipped, for example when a producer publishes twice. Only success is
	// remembered. Durable only. Default 0: no inbox.
	Inbox time.Duration

	// Queue is how many events may wait in this process. Live only. Default 8192.
	Queue int
	// QueueBytes is how many bytes the waiting events may have together. Live only. Default 64 MiB.
	QueueBytes int
	// Overflow selects what happens when the queue is full. Live only. Default DropOldest.
	Overflow Overflow
}

// Start is the place in a durable bus where a new group begins. The zero value is [FromNow].
type Start struct {
	id         string
	isPosition bool // id is the Position of an event, from the user
}

// FromNow begins with the events that are published after the group was registered.
// Subscriber.Ready is closed then.
func FromNow() Start { return Start{} }

// FromBeginning begins with the oldest stored event.
func FromBeginning() Start { return Start{id: "0"} }

// FromTime begins with the first event that was stored at t or later, by the server's clock.
func FromTime(t time.Time) Start {
	ms := t.UnixMilli()
	if ms < 1 {
		return FromBeginning()
	}
	return Start{id: fmt.Sprintf("%d-18446744073709551615", ms-1)}
}

// FromPosition begins after the event with this [Event].Position. An empty position is refused by
// [Durable.Subscriber]: a [Receipt] of a duplicate or of a delayed event has none.
func FromPosition(position string) Start { return Start{id: position, isPosition: true} }

func (s Start) lastID() string {
	if s.id == "" {
		return "$"
	}
	return s.id
}

// Exponential returns a backoff that doubles from first to limit. Each value varies randomly by ±20
// %. An attempt below 1 counts as 1.
func Exponential(first, limit time.Duration) func(attempt int) time.Duration {
	first, limit = max(first, 0), max(limit, 0)

	return func(attempt int) time.Duration {
		attempt = max(attempt, 1)
		d := limit
		if attempt < 32 && first<<(attempt-1)>>(attempt-1) == first {
			d = min(first<<(attempt-1), limit)
		}
		return d*4/5 + time.Duration(rand.Int64N(int64(d)*2/5+1))
	}
}

// busKind is the kind of a bus.
type busKind uint8

const (
	liveBus busKind = iota + 1
	durableBus
)

// refused returns an error that names the first option that a bus of this kind can't honour.
func (o SubscriberOptions) refused(kind busKind) error {
	only := func(name string, isSet bool, reason string) error {
		if !isSet {
			return nil
		}
		return fmt.Errorf("SubscriberOptions.%s is set: %s", name, reason)
	}

	var all []error
	if kind == liveBus {
		const attempts = "a live bus makes one attempt per event: leave it zero, or use a durable bus"
		const groups = "a live bus stores nothing: leave it zero, or use a durable bus"
		all = []error{
			only("MaxAttempts", o.MaxAttempts != 0, attempts),
			only("Backoff", o.Backoff != nil, attempts),
			only("HandlerTimeout", o.HandlerTimeout != 0, attempts),
			only("Unhandled", o.Unhandled != AckUnhandled, groups),
			only("Start", o.Start != Start{}, groups),
			only("Inbox", o.Inbox != 0, groups),
		}
	} else {
		const queue = "a durable bus keeps waiting events on the server: leave it zero, or use a live bus"
		all = []error{
			only("Queue", o.Queue != 0, queue),
			only("QueueBytes", o.QueueBytes != 0, queue),
			only("Overflow", o.Overflow != DropOldest, queue),
		}
	}
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}

// validate returns the options with their defaults.
func (o SubscriberOptions) validate(kind busKind) (SubscriberOptions, error) {
	err := o.refused(kind)
	set := func(name string, field *int, def, least int, none bool) {
		switch {
		case *field == 0:
			*field = def
		case none && *field == NoMaxAttempts:
		case *field < least && err == nil:
			err = fmt.Errorf("SubscriberOptions.%s is %d: want at least %d", name, *field, least)
		}
	}
	set("Concurrency", &o.Concurrency, 16, 1, false)
	set("MaxAttempts", &o.MaxAttempts, 5, 1, true)
	set("Queue", &o.Queue, 8192, 1, false)
	set("QueueBytes", &o.QueueBytes, 64<<20, 1, false)

	switch {
	case err != nil:
	case o.DrainTimeout < 0 && o.DrainTimeout != NoDrainTimeout:
		err = fmt.Errorf("SubscriberOptions.DrainTimeout is %v: want 0 (default), a positive duration or NoDrainTimeout",
			o.DrainTimeout)
	case o.HandlerTimeout < 0:
		err = fmt.Errorf("SubscriberOptions.HandlerTimeout is %v: want 0 (none) or a positive duration",
			o.HandlerTimeout)
	case o.Inbox < 0:
		err = fmt.Errorf("SubscriberOptions.Inbox is %v: want 0 (none) or a positive duration", o.Inbox)
	case o.Overflow > Disconnect:
		err = fmt.Errorf("SubscriberOptions.Overflow is %d: want DropOldest, DropNewest or Disconnect", o.Overflow)
	case o.Unhandled > DeadLetterUnhandled:
		err = fmt.Errorf("SubscriberOptions.Unhandled is %d: want AckUnhandled or DeadLetterUnhandled", o.Unhandled)
	case o.Start.isPosition && !isPosition(o.Start.id):
		err = fmt.Errorf("SubscriberOptions.Start: %q is not a Position of an event", o.Start.id)
	}

	if o.DrainTimeout == 0 {
		o.DrainTimeout = 10 * time.Second
	}
	if o.Backoff == nil {
		o.Backoff = Exponential(time.Second, 5*time.Minute)
	}
	return o, err
}

// TraceContext carries the trace of a request through events, as W3C Trace Context header values.
// An adapter to OpenTelemetry wraps propagation.TraceContext with a map carrier.
type TraceContext interface {
	// Inject returns the trace of ctx; two empty strings if it has none.
	Inject(ctx context.Context) (traceparent, tracestate string)
	// Extract returns a context with the trace.
	Extract(ctx context.Context, traceparent, tracestate string) context.Context
}

// traceOf returns the option Trace, or its default.
func traceOf(option TraceContext, observer observe.Observer) TraceContext {
	if option != nil {
		return option
	}
	if trace, ok := observer.(TraceContext); ok {
		return trace
	}
	if several, ok := observer.(interface{ Unwrap() []observe.Observer }); ok { // of observe.Multi
		for _, one := range several.Unwrap() {
			if trace := traceOf(nil, one); trace != nil {
				return trace
			}
		}
	}
	return nil
}
