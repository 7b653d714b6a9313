package events_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
)

// The durable bus behind the two interfaces of watermill, with the minimum that its suite needs. A
// topic is a bus with one channel, so that the topic is in order. A nack is an error, an ack is
// nil.

// carried is a message as the data of an event. The event has the ID of the message.
type carried struct {
	Metadata message.Metadata `json:"metadata"`
	Payload  []byte           `json:"payload"`
}

var errNack = errors.New("nacked")

var messages = events.NewTopic[carried]("watermill.message")

// adapter is a publisher and a subscriber with a separate client, as in a separate process.
type adapter struct {
	client *redstart.Client
	group  string
	opts   events.DurableOptions

	mu     sync.Mutex
	buses  map[string]*events.Durable
	end    context.CancelFunc
	ending context.Context
	runs   sync.WaitGroup
}

func newAdapter(t testing.TB, url, namespace, group string, opts events.DurableOptions) *adapter {
	t.Helper()
	client, err := redstart.Open(context.Background(),
		redstart.Config{URL: url, Namespace: namespace, CommandTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	a := &adapter{client: client, group: group, opts: opts, buses: map[string]*events.Durable{}}
	a.ending, a.end = context.WithCancel(context.Background())
	t.Cleanup(func() {
		a.Close()
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func (a *adapter) bus(topic string) (*events.Durable, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if bus := a.buses[topic]; bus != nil {
		return bus, nil
	}
	bus, err := events.NewDurable(a.client, topic, a.opts)
	a.buses[topic] = bus
	return bus, err
}

func (a *adapter) Publish(topic string, all ...*message.Message) error {
	bus, err := a.bus(topic)
	if err != nil {
		return err
	}
	for _, m := range all {
		if err := messages.Publish(m.Context(), bus, topic, carried{m.Metadata, m.Payload}, events.ID(m.UUID)); err != nil {
			return err
		}
	}
	return nil
}

func (a *adapter) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	bus, err := a.bus(topic)
	if err != nil {
		return nil, err
	}
	sub, err := bus.Subscriber(a.group, events.SubscriberOptions{
		Start:        events.FromBeginning(),
		MaxAttempts:  events.NoMaxAttempts,
		Backoff:      func(int) time.Duration { return time.Millisecond },
		DrainTimeout: 50 * time.Millisecond,
	})
	if err != nil {
		return nil, err
	}
	out := make(chan *message.Message)
	if err := messages.Handle(sub, topic, func(ctx context.Context,
		e events.Event[carried]) error {
		return hand(ctx, out, e)
	}); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	unbind := context.AfterFunc(a.ending, cancel)
	ended := make(chan error, 1)
	a.runs.Go(func() {
		defer cancel()
		defer unbind()
		ended <- sub.Run(ctx)
		close(out) // all handlers have returned
	})
	select {
	case <-sub.Ready():
		return out, nil
	case err := <-ended:
		return out, err // nil if ctx has ended
	}
}

// hand sends a message to the reader of the channel, and returns when it was acked or nacked, or
// when the subscriber stops.
func hand(ctx context.Context, out chan<- *message.Message, e events.Event[carried]) error {
	m := message.NewMessage(e.ID, e.Data.Payload)
	m.Metadata = e.Data.Metadata
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
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

// Close ends all subscriptions. When it returns, their channels are closed.
func (a *adapter) Close() error {
	a.end()
	a.runs.Wait()
	return nil
}
