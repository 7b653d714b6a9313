package redstartwatermill

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
)

// Options configure a [Publisher] and a [Subscriber]. The zero value is a good default. All
// processes of a topic need the same Bus.Partitions and Bus.MaxBytes.
type Options struct {
	// Bus configures the bus of each topic.
	Bus events.DurableOptions
	// Channel returns the channel of a message. The messages of one channel are in order, and
	// different channels run concurrently. Only publishers use it. Default: the topic, so that the
	// whole topic is in order.
	Channel func(topic string, m *message.Message) string
	// Subscriber configures the subscribers. Two zero values have another meaning here, as
	// Watermill expects it: MaxAttempts 0 is events.NoMaxAttempts, and Start is
	// events.FromBeginning. FromNow starts new groups with new messages.
	Subscriber events.SubscriberOptions
	FromNow    bool
	// Logger receives the errors that end a subscription. Default nil: no log.
	Logger watermill.LoggerAdapter
}

// maxTopics bounds the buses of one publisher or subscriber.
const maxTopics = 1000

// closeTimeout is how long Close waits for what runs on the buses.
const closeTimeout = 30 * time.Second

// ErrClosed is returned by a publisher or a subscriber after its Close.
var ErrClosed = errors.New("redstartwatermill: closed")

// body is a message as the data of an event.
type body struct {
	UUID     string           `json:"uuid"`
	Metadata message.Metadata `json:"metadata,omitempty"`
	Payload  []byte           `json:"payload"`
}

var messages = events.NewTopic[body]("watermill.message")

// buses has the bus of each topic.
type buses struct {
	client *redstart.Client
	opt    Options

	mu     sync.Mutex
	closed bool
	all    map[string]*events.Durable
}

func newBuses(client *redstart.Client, opts Options) (*buses, error) {
	if client == nil {
		return nil, errors.New("redstartwatermill: the client is nil: use redstart.Open")
	}
	if opts.Channel == nil {
		opts.Channel = func(topic string, _ *message.Message) string { return topic }
	}
	if opts.Logger == nil {
		opts.Logger = watermill.NopLogger{}
	}
	return &buses{client: client, opt: opts, all: make(map[string]*events.Durable)}, nil
}

// of returns the bus of a topic.
func (b *buses) of(topic string) (*events.Durable, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, fmt.Errorf("redstartwatermill: topic %q: %w", topic, ErrClosed)
	}
	if bus := b.all[topic]; bus != nil {
		return bus, nil
	}
	if len(b.all) >= maxTopics {
		return nil, fmt.Errorf("redstartwatermill: topic %q: %d topics are in use: use fewer topics and Options.Channel", topic, maxTopics)
	}
	bus, err := events.NewDurable(b.client, topic, b.opt.Bus)
	if err != nil {
		return nil, fmt.Errorf("redstartwatermill: topic %q: %w", topic, err)
	}
	b.all[topic] = bus
	return bus, nil
}

// close closes all buses. Later calls of of fail.
func (b *buses) close() error {
	b.mu.Lock()
	all := b.all
	b.closed, b.all = true, nil
	b.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var errs []error
	for _, bus := range all {
		errs = append(errs, bus.Close(ctx))
	}
	return errors.Join(errs...)
}
