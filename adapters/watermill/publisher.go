package redstartwatermill

import (
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
)

// Publisher publishes messages to durable buses. It implements message.Publisher. Use
// [NewPublisher]. Its methods are safe for concurrent use.
type Publisher struct{ buses *buses }

var _ message.Publisher = (*Publisher)(nil)

// NewPublisher returns a [Publisher].
func NewPublisher(client *redstart.Client, opts Options) (*Publisher, error) {
	b, err := newBuses(client, opts)
	if err != nil {
		return nil, err
	}
	return &Publisher{b}, nil
}

// Publish publishes messages to a topic, in order. It returns nil when all are stored. One message
// takes one round trip, with the context of the message. Several are a batch with the context of
// the first, in one round trip per 128 messages or 256 KiB; after an error some of them can be
// stored, as an [*events.BatchError] says.
//
// Errors: [ErrClosed]; the errors of events.Topic.Publish.
func (p *Publisher) Publish(topic string, all ...*message.Message) error {
	bus, err := p.buses.of(topic)
	if err != nil || len(all) == 0 {
		return err
	}

	if len(all) == 1 {
		m := all[0]
		err = messages.Publish(m.Context(), bus, p.buses.opt.Channel(topic, m), bodyOf(m))
	} else {
		var batch events.Batch
		for _, m := range all {
			messages.AddToBatch(&batch, p.buses.opt.Channel(topic, m), bodyOf(m))
		}
		err = bus.PublishBatch(all[0].Context(), &batch)
	}
	if err != nil {
		return fmt.Errorf("redstartwatermill: publish to topic %q: %w", topic, err)
	}
	return nil
}

func bodyOf(m *message.Message) body { return body{m.UUID, m.Metadata, m.Payload} }

// Close waits for calls of Publish. A later Publish returns [ErrClosed].
func (p *Publisher) Close() error { return p.buses.close() }
