package demo

import (
	"context"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
)

func openParcels(client *redstart.Client) (*events.Durable, error) {
	opts := events.DurableOptions{Partitions: 1}
	return events.NewDurable(client, "story", opts)
}

func subscribe(
	bus *events.Durable,
	topic events.Topic[Parcel],
	weigh func(context.Context, events.Event[Parcel]) error,
) (*events.Subscriber, error) {
	sub, err := bus.Subscriber("scales", events.SubscriberOptions{
		MaxAttempts: 3, // then the event is a dead letter
		Backoff:     events.Exponential(firstPause, time.Second),
	})
	if err != nil {
		return nil, err
	}
	return sub, topic.Handle(sub, "*", weigh)
}

func retry(ctx context.Context, bus *events.Durable) (int, error) {
	return bus.DeadLetters("scales").RedriveAll(ctx)
}
