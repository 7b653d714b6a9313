package redstartwatermill

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
)

// Subscriber delivers the messages of durable buses. It implements message.Subscriber. Use
// [NewSubscriber]. Its methods are safe for concurrent use.
type Subscriber struct {
	buses *buses
	group string

	ending context.Context // ends with Close
	end    context.CancelFunc

	mu     sync.Mutex // no run starts after Close
	closed bool
	runs   sync.WaitGroup
}

var _ message.Subscriber = (*Subscriber)(nil)

var errNack = errors.New("redstartwatermill: the message was nacked")

// NewSubscriber returns a [Subscriber] of a consumer group.
func NewSubscriber(client *redstart.Client, group string, opts Options) (*Subscriber, error) {
	if opts.Subscriber.MaxAttempts == 0 {
		opts.Subscriber.MaxAttempts = events.NoMaxAttempts
	}
	if opts.Subscriber.Start == events.FromNow() && !opts.FromNow {
		opts.Subscriber.Start = events.FromBeginning()
	}
	b, err := newBuses(client, opts)
	if err != nil {
		return nil, err
	}
	s := &Subscriber{buses: b, group: group}
	s.ending, s.end = context.WithCancel(context.Background())
	return s, nil
}

// Subscribe returns a channel with the messages of a topic. It returns when the group exists and
// this process receives. The channel is closed when ctx ends, after Close, and after an error that
// Options.Logger receives. The next message of a channel of the bus is delivered after the ack of
// the one before.
//
// Errors: [ErrClosed]; the errors of events.Durable.Subscriber and events.Subscriber.Run.
func (s *Subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	bus, err := s.buses.of(topic)
	if err != nil {
		return nil, err
	}
	sub, err := bus.Subscriber(s.group, s.buses.opt.Subscriber)
	if err != nil {
		return nil, fmt.Errorf("redstartwatermill: subscribe to topic %q: %w", topic, err)
	}
	out := make(chan *message.Message)
	if err := messages.Handle(sub, "*", func(ctx context.Context, e events.Event[body]) error {
		return deliver(ctx, out, e.Data)
	}); err != nil {
		return nil, fmt.Errorf("redstartwatermill: subscribe to topic %q: %w", topic, err)
	}

	ended, err := s.run(ctx, topic, sub, out)
	if err != nil {
		return nil, err
	}
	select {
	case <-sub.Ready():
		return out, nil
	case err := <-ended:
		return out, err // nil if ctx has ended
	}
}

// run runs a subscriber until ctx ends or Close. Then it closes out.
func (s *Subscriber) run(ctx context.Context, topic string, sub *events.Subscriber,
	out chan *message.Message) (ended <-chan error, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("redstartwatermill: subscribe to topic %q: %w", topic, ErrClosed)
	}

	ctx, cancel := context.WithCancel(ctx)
	unbind := context.AfterFunc(s.ending, cancel)
	result := make(chan error, 1)
	s.runs.Go(func() {
		defer cancel()
		defer unbind()
		err := sub.Run(ctx)
		if err != nil {
			err = fmt.Errorf("redstartwatermill: subscribe to topic %q: %w", topic, err)
			s.buses.opt.Logger.Error("events: the subscription of a Watermill topic ended", err, watermill.LogFields{"topic": topic})
		}
		result <- err
		close(out) // all handlers have returned
	})
	return result, nil
}

// deliver sends a message to the reader of the channel. It returns when the message was acked or
// nacked, or when the subscriber stops.
func deliver(ctx context.Context, out chan<- *message.Message, b body) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m := message.NewMessage(b.UUID, b.Payload)
	if b.Metadata != nil {
		m.Metadata = b.Metadata
	}
	m.SetContext(ctx)

	select {
	case out <- m:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-m.Acked():
		return nil
	case <-m.Nacked():
		return errNack
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close ends all subscriptions and waits for them. Messages without an ack return to the group
// after Options.Subscriber.DrainTimeout. When Close returns, all channels are closed.
func (s *Subscriber) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.runs.Wait()
	return s.buses.close()
}
