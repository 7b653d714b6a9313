package events

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// Overflow says what happens to an event for which a live subscriber has no room.
type Overflow uint8

const (
	DropOldest Overflow = iota // the event that has waited longest goes; the default
	DropNewest                 // the event that has just come goes
	Disconnect                 // everything that waits goes, and Run ends with ErrOverflow
)

// Unhandled says what happens to an event of a durable bus that no handler matches.
type Unhandled uint8

const (
	// AckUnhandled acknowledges and counts; the default. An event that another version of the group handles is not acknowledged: it is left
	// to that version for 15 min at most, then it is a dead letter.
	AckUnhandled        Unhandled = iota
	DeadLetterUnhandled           // keep as a dead letter
)

// NoLimit says "none" where zero means a default.
const NoLimit = -1

// SubscriberOptions configure a Subscriber. The zero value is a good default.
type SubscriberOptions struct {
	// Concurrency is how many channels are handled at once; events of one channel never are. Default 16.
	Concurrency int
	// OnGap is told of every known loss: something may have been missed. It runs on a goroutine of its own, one call at a time.
	OnGap func(Gap)
	// OnError is told of every error of a handler, and of events that can't be read. It runs where the handler ran.
	OnError func(ctx context.Context, event Event[[]byte], err error)
	// DrainTimeout is how long running handlers may take to finish when Run's context ends; then their
	// context ends, with cause ErrStopping. Default 10 s, NoLimit.
	DrainTimeout time.Duration

	// MaxAttempts is how often an event is tried before it becomes a dead letter. Durable; default 5, NoLimit.
	MaxAttempts int
	// Backoff is the least time between attempt n (from 1) and the next. Durable; default Exponential(1 s, 5 min).
	Backoff func(attempt int) time.Duration
	// HandlerTimeout ends a handler's context after this time, with cause ErrHandlerTimeout; the attempt then fails. The event
	// is not handled by another handler before this one has returned. Durable; default 0: none. A
	// handler that runs longer than 5 min without it is logged, because its event keeps the later ones of the stream from being trimmed.
	HandlerTimeout time.Duration
	// Unhandled says what happens to an event that no handler matches. Durable; default AckUnhandled.
	Unhandled Unhandled
	// Start is where a group begins that does not exist yet. Durable; default FromNow.
	Start Start
	// Inbox remembers for so long the ids of events that this group has handled, and skips them when they come again, such as
	// when a producer publishes twice. An id is remembered after success alone. Durable; default 0: not.
	Inbox time.Duration

	// Queue is how many events may wait in this process. Live; default 8192.
	Queue int
	// QueueBytes is how many bytes they may have. Live; default 64 MiB.
	QueueBytes int
	// Overflow says what happens to more. Live; default DropOldest.
	Overflow Overflow
}

// Start is where in a durable bus a new group begins.
type Start struct{ id string }

// FromNow begins with what is published after the group was registered: Ready says when.
func FromNow() Start { return Start{} }

// FromBeginning begins with the oldest event that is still there.
func FromBeginning() Start { return Start{"0"} }

// FromTime begins with the first event that was stored at t or later, by the server's clock.
func FromTime(t time.Time) Start {
	ms := t.UnixMilli()
	if ms < 1 {
		return FromBeginning()
	}
	return Start{fmt.Sprintf("%d-18446744073709551615", ms-1)}
}

// FromPosition begins after the event that had this Position.
func FromPosition(position string) Start { return Start{position} }

func (s Start) lastID() string {
	if s.id == "" {
		return "$"
	}
	return s.id
}

// Exponential is a backoff that doubles from first to most, each ±20 % by chance. An attempt below 1 counts as 1.
func Exponential(first, most time.Duration) func(attempt int) time.Duration {
	first, most = max(first, 0), max(most, 0)
	return func(attempt int) time.Duration {
		attempt = max(attempt, 1)
		d := most
		if attempt < 32 && first<<(attempt-1)>>(attempt-1) == first {
			d = min(first<<(attempt-1), most)
		}
		return d*4/5 + time.Duration(rand.Int64N(int64(d)*2/5+1))
	}
}

func (o SubscriberOptions) validate() (SubscriberOptions, error) {
	var err error
	set := func(name string, field *int, def, least int, none bool) {
		switch {
		case *field == 0:
			*field = def
		case none && *field == NoLimit:
		case *field < least && err == nil:
			err = fmt.Errorf("events: SubscriberOptions.%s is %d: at least %d", name, *field, least)
		}
	}
	set("Concurrency", &o.Concurrency, 16, 1, false)
	set("MaxAttempts", &o.MaxAttempts, 5, 1, true)
	set("Queue", &o.Queue, 8192, 1, false)
	set("QueueBytes", &o.QueueBytes, 64<<20, 1, false)
	switch {
	case err != nil:
	case o.DrainTimeout < 0 && o.DrainTimeout != NoLimit:
		err = fmt.Errorf("events: SubscriberOptions.DrainTimeout is %v: not negative, or NoLimit", o.DrainTimeout)
	case o.HandlerTimeout < 0:
		err = fmt.Errorf("events: SubscriberOptions.HandlerTimeout is %v: not negative", o.HandlerTimeout)
	case o.Inbox < 0:
		err = fmt.Errorf("events: SubscriberOptions.Inbox is %v: not negative", o.Inbox)
	case o.Overflow > Disconnect:
		err = fmt.Errorf("events: SubscriberOptions.Overflow is %d: no such policy", o.Overflow)
	case o.Unhandled > DeadLetterUnhandled:
		err = fmt.Errorf("events: SubscriberOptions.Unhandled is %d: no such policy", o.Unhandled)
	case o.Start.id != "" && o.Start.id != "0" && !isPosition(o.Start.id):
		err = fmt.Errorf("events: SubscriberOptions.Start: %q is no event's Position", o.Start.id)
	}
	if o.DrainTimeout == 0 {
		o.DrainTimeout = 10 * time.Second
	}
	if o.Backoff == nil {
		o.Backoff = Exponential(time.Second, 5*time.Minute)
	}
	return o, err
}

// TraceContext carries the trace of a request through events, as W3C Trace Context texts. An adapter to
// OpenTelemetry is a few lines: its propagation.TraceContext over a map carrier.
type TraceContext interface {
	Inject(ctx context.Context) (traceparent, tracestate string)
	Extract(ctx context.Context, traceparent, tracestate string) context.Context
}
