package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Subscriber receives events of a bus and gives them to handlers. Make it with a bus' Subscriber method, register
// handlers, then Run it once.
type Subscriber struct {
	bus   *busCommon
	live  *Live // nil: the bus is durable
	name  string
	opt   SubscriberOptions
	ready chan struct{}
	serve func(ctx context.Context, s *Subscriber) error // of the kind of bus
	gaps  gapTeller
	stats subscriberStats

	mu         sync.Mutex
	handlers   []handler
	middleware []Middleware
	began      bool

	// From Run on: the handlers of each exact pattern, and those with a glob.
	exact map[string][]int
	globs []int

	mostAttempts, leastAttempts int  // of any event
	ownLimits                   bool // a handler has a limit of its own
}

type handler struct {
	pattern   string
	exact     bool
	eventType string // "" is any
	// Instead of the subscriber's; 0 and nil: the subscriber's.
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
	s.gaps.tell, s.gaps.run, s.gaps.panics = opts.OnGap, bus.core.Group().Go, &s.stats.panics
	s.gaps.idle.L = &s.gaps.mu
	bus.stats.add(s)
	return s, nil
}

// Name is what the subscriber was made with: on a Durable bus its group.
func (s *Subscriber) Name() string { return s.name }

// HandleRaw registers a handler for events of any type on the channels that match pattern, with the data as it came.
func (s *Subscriber) HandleRaw(pattern string, handle func(context.Context, Event[json.RawMessage]) error, opts ...HandleOption) error {
	return Topic[json.RawMessage]{}.Handle(s, pattern, handle, opts...)
}

// Run receives until ctx ends, then drains: no new handler starts, running ones have SubscriberOptions.DrainTimeout to
// finish, and on a Durable bus everything else is given back. It returns nil then. It may be called once.
//
// Handlers run with the values of ctx, but their context ends only with the lease of their partition (ErrLost) or the drain
// timeout (ErrStopping). An outage does not end Run: it goes on when the server is back. Errors: no handler is
// registered, ErrRunning, ErrPartitions, ErrOverflow, ErrClosed; redstart.ErrDenied.
func (s *Subscriber) Run(ctx context.Context) error {
	s.mu.Lock()
	began, none := s.began, len(s.handlers) == 0
	s.began = s.began || !none
	s.mu.Unlock()
	switch {
	case began:
		return fmt.Errorf("events: run %s: %w", s.name, ErrRunning)
	case none:
		return fmt.Errorf("events: run %s: no handler is registered; call Handle first", s.name)
	}
	if err := s.bus.life.enter("subscriber"); err != nil {
		return fmt.Errorf("events: run %s: %w", s.name, err)
	}
	defer s.bus.life.leave("subscriber")

	if err := s.wrap(); err != nil {
		return fmt.Errorf("events: run %s: %w", s.name, err)
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
	if err := s.serve(ctx, s); err != nil {
		return fmt.Errorf("events: run %s: %w", s.name, err)
	}
	return nil
}

// Ready is closed once the subscriber receives: from then on no event is missed on a Live bus without an OnGap, and every
// event that is published on a Durable bus is handled.
func (s *Subscriber) Ready() <-chan struct{} { return s.ready }

func (s *Subscriber) handle(pattern, eventType string, call func(context.Context, *delivery) error, opts []HandleOption) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.began:
		return fmt.Errorf("events: handle %q: %w", pattern, ErrRunning)
	case pattern == "":
		return errors.New("events: handle: the pattern is empty; * matches every channel")
	case len(pattern) > maxName:
		return fmt.Errorf("events: handle: the pattern has %d bytes, the limit is %d", len(pattern), maxName)
	}
	h := handler{pattern: pattern, exact: exact(pattern), eventType: eventType, call: call}
	for _, o := range opts {
		if s.live != nil {
			return fmt.Errorf("events: handle %q: the option %s is set: a live bus makes one attempt per event: leave it out, or use a durable bus", pattern, o.name)
		}
		if err := o.set(&h); err != nil {
			return fmt.Errorf("events: handle %q: %w", pattern, err)
		}
	}
	s.handlers = append(s.handlers, h)
	return nil
}

// which of a subscriber's handlers an event is for: a live event comes once for the exact and once for the others.
type which uint8

const (
	allHandlers which = iota
	exactHandlers
	globHandlers
)

// dispatch runs the handlers that match, and stops at the first error. It never panics.
func (s *Subscriber) dispatch(ctx context.Context, d *delivery, w which) (handled bool, err error) {
	if s.bus.trace != nil && d.TraceParent != "" {
		if err := guard(func() error { ctx = s.bus.trace.Extract(ctx, d.TraceParent, d.TraceState); return nil }); err != nil {
			return true, err
		}
	}
	var exact, globs []int
	if w != globHandlers {
		exact = s.exact[d.Subject]
	}
	if w != exactHandlers {
		globs = s.globs
	}
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
		d.failedIn = h // until it has returned nil: a panic or runtime.Goexit may end it
		if err := s.callHandler(ctx, h, d); err != nil {
			return true, err
		}
		d.failedIn = nil
	}
	return handled, nil
}

func (s *Subscriber) callHandler(ctx context.Context, h *handler, d *delivery) (err error) {
	if s.bus.core.Observed() {
		var end func(error)
		ctx, end = s.bus.observe(ctx, "handle")
		err = errGoexit // if h.call does not return
		defer func() { end(err) }()
	}
	s.stats.running.Add(1)
	defer s.stats.running.Add(-1)

	err = guard(func() error { return h.call(ctx, d) })
	return err
}

// failed counts an error and tells OnError.
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
