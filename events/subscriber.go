package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/observe"
)

// Subscriber receives events of a bus and calls handlers. Get it from the Subscriber method of a
// bus, register handlers, then call Run once.
type Subscriber struct {
	bus   *busCommon
	live  *Live // nil: the bus is durable
	name  string
	opt   SubscriberOptions
	ready chan struct{}
	serve func(ctx context.Context, s *Subscriber) error // receives events of this kind of bus
	gaps  gapReporter
	stats subscriberStats

	mu         sync.Mutex
	handlers   []handler
	middleware []Middleware
	began      bool

	// Constant from Run on: the handlers of each exact channel, and the handlers with a glob.
	exact map[string][]int
	globs []int

	mostAttempts, leastAttempts int  // the largest and smallest limit of any handler
	ownLimits                   bool // at least one handler has its own limit
}

type handler struct {
	pattern   string
	exact     bool
	eventType string // "" matches every type
	// 0 and nil mean the value of the subscriber.
	maxAttempts int
	backoff     func(attempt int) time.Duration

	call func(ctx context.Context, d *delivery) error
}

func newSubscriber(
	bus *busCommon, kind busKind, name string, opts SubscriberOptions, serve func(context.Context, *Subscriber) error,
) (*Subscriber, error) {
	if err := bus.life.open(); err != nil {
		return nil, fmt.Errorf("events: subscriber %q: %w", name, err)
	}
	opts, err := opts.validate(kind)
	if err != nil {
		return nil, fmt.Errorf("events: subscriber %q: %w", name, err)
	}

	s := &Subscriber{bus: bus, name: name, opt: opts, ready: make(chan struct{}), serve: serve}
	s.gaps.report, s.gaps.run, s.gaps.panics = opts.OnGap, bus.core.Group().Go, &s.stats.panics
	s.gaps.idle.L = &s.gaps.mu
	return s, nil
}

// Name returns the name of the subscriber. On a Durable bus it is the consumer group.
func (s *Subscriber) Name() string { return s.name }

// HandleRaw registers a handler for events of every type on the channels that match pattern. The
// handler receives the data as JSON. See [Topic.Handle].
func (s *Subscriber) HandleRaw(pattern string, handle func(context.Context, Event[json.RawMessage]) error,
	opts ...HandleOption) error {
	return Topic[json.RawMessage]{}.Handle(s, pattern, handle, opts...)
}

// Run receives events until ctx ends, then it drains and returns nil. While it drains, no new
// handler starts, and running handlers may continue for SubscriberOptions.DrainTimeout. On a
// Durable bus, all other events return to the group. Run may be called once.
//
// Handlers run with the values of ctx. Their context ends with the lease of the partition
// ([ErrLost]), or with the drain timeout ([ErrStopping]). An outage does not end Run. Consumption
// continues when the server answers again.
//
// Errors: no handler is registered; [ErrRunning]; [ErrPartitions]; [ErrTopics]; [ErrOverflow];
// [ErrClosed]; redstart.ErrDenied.
func (s *Subscriber) Run(ctx context.Context) error {
	s.mu.Lock()
	began, none := s.began, len(s.handlers) == 0
	s.began = s.began || !none
	s.mu.Unlock()
	switch {
	case began:
		return fmt.Errorf("events: run %q: %w", s.name, ErrRunning)
	case none:
		return fmt.Errorf("events: run %q: no handler is registered: call Handle first", s.name)
	}
	if err := s.bus.life.enter("subscriber"); err != nil {
		return fmt.Errorf("events: run %q: %w", s.name, err)
	}
	defer s.bus.life.leave("subscriber")

	if err := s.wrap(); err != nil {
		return fmt.Errorf("events: run %q: %w", s.name, err)
	}
	s.setLimits()
	s.exact = make(map[string][]int)
	for i, h := range s.handlers {
		if h.exact {
			s.exact[h.pattern] = append(s.exact[h.pattern], i)
		} else {
			s.globs = append(s.globs, i)
		}
	}
	s.bus.stats.add(s) // serve removes it
	if err := s.serve(ctx, s); err != nil {
		return fmt.Errorf("events: run %q: %w", s.name, err)
	}
	return nil
}

// Ready returns a channel that is closed when the subscriber receives events. From then on, a loss
// of events on a Live bus is reported to OnGap, and every event that is published to a Durable bus
// is handled.
func (s *Subscriber) Ready() <-chan struct{} { return s.ready }

func (s *Subscriber) handle(pattern, eventType string, call func(context.Context, *delivery) error,
	opts []HandleOption) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.began:
		return fmt.Errorf("events: handle %q: %w", pattern, ErrRunning)
	case pattern == "":
		return errors.New("events: handle: the pattern is empty: use * for all channels")
	case len(pattern) > maxName:
		size := fmt.Errorf("the pattern has %d bytes, the limit is %d", len(pattern), maxName)
		return fmt.Errorf("events: handle: %w", fault.New(fault.ErrTooLarge, size, "use a shorter pattern"))
	}
	h := handler{pattern: pattern, exact: exact(pattern), eventType: eventType, call: call}
	for _, o := range opts {
		if s.live != nil {
			return fmt.Errorf("events: handle %q: the option %s is set: a live bus makes one attempt per event: "+
				"leave it out, or use a durable bus", pattern, o.name)
		}
		if err := o.set(&h); err != nil {
			return fmt.Errorf("events: handle %q: %w", pattern, err)
		}
	}
	s.handlers = append(s.handlers, h)
	return nil
}

// handlerSet says on which subscription a live event has arrived. An event can arrive twice: on its
// own channel, and on its glob partition.
type handlerSet uint8

const (
	exactHandlers handlerSet = iota
	globHandlers
)

// dispatch runs the matching handlers in the order of their registration, up to the first error. It
// never panics.
func (s *Subscriber) dispatch(ctx context.Context, d *delivery) (handled bool, err error) {
	if s.bus.trace != nil && d.TraceParent != "" {
		if err := guard(func() error {
			ctx = s.bus.trace.Extract(ctx, d.TraceParent,
				d.TraceState)
			return nil
		}); err != nil {
			return true, err
		}
	}
	exact, globs := s.exact[d.Subject], s.globs
	for len(exact)+len(globs) > 0 { // both are in the order of registration
		from := &exact
		if len(exact) == 0 || len(globs) > 0 && globs[0] < exact[0] {
			from = &globs
		}
		h := &s.handlers[(*from)[0]]
		*from = (*from)[1:]
		if h.eventType != "" && h.eventType != d.Type || !h.exact && !match(h.pattern, d.Subject) {
			continue
		}
		handled = true
		d.failedIn = h // until the handler returns nil: runtime.Goexit may end it
		if err := s.callHandler(ctx, h, d); err != nil {
			return true, err
		}
		d.failedIn = nil
	}
	return handled, nil
}

func (s *Subscriber) callHandler(ctx context.Context, h *handler, d *delivery) (err error) {
	if s.bus.core.Observed() {
		op := observe.Operation{Pattern: "events", Name: s.bus.name, Verb: "handle", Subscriber: s.name}
		var end func(error)
		ctx, end = s.bus.core.Start(ctx, op)
		err = errGoexit // if h.call does not return
		defer func() { end(err) }()
		s.recordLag(ctx, op, d)
	}
	s.stats.running.Add(1)
	defer s.stats.running.Add(-1)

	err = guard(func() error { return h.call(ctx, d) })
	return err
}

// recordLag records the age of an event before the first handler of its first attempt.
func (s *Subscriber) recordLag(ctx context.Context, op observe.Operation, d *delivery) {
	if d.attempt != 1 || d.lagRecorded || !s.bus.core.Records() {
		return
	}
	d.lagRecorded = true
	if at := d.storedAt(); !at.IsZero() {
		s.bus.core.Record(ctx, op, observe.Lag, time.Since(at))
	}
}

// failed counts an error and reports it to OnError.
func (s *Subscriber) failed(ctx context.Context, d *delivery, err error) {
	s.stats.failed.Add(1)
	if _, panicked := errors.AsType[*PanicError](err); panicked {
		s.stats.panics.Add(1)
	}
	if s.opt.OnError == nil {
		return
	}
	if guard(func() error {
		s.opt.OnError(ctx, Event[[]byte]{ID: d.ID, Type: d.Type, Source: d.Source, Channel: d.Subject, Time: d.Time,
			Position: d.position, Attempt: d.attempt, Fence: d.fence, Data: d.Data}, err)
		return nil
	}) != nil {
		s.stats.panics.Add(1)
	}
}
