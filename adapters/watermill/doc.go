// Package redstartwatermill is a publisher and a subscriber of Watermill over durable buses of
// Redstart. Routers, middleware and the CQRS component of Watermill work on them unchanged.
//
// # Quick start
//
//	publisher, err := redstartwatermill.NewPublisher(client, redstartwatermill.Options{})
//	subscriber, err := redstartwatermill.NewSubscriber(client, "mail", redstartwatermill.Options{})
//	messages, err := subscriber.Subscribe(ctx, "orders")
//
// # What
//
// A topic is a durable bus of its name. A subscriber has a consumer group: all subscribers of the
// group share the messages, in this process and in others. An ack acknowledges the event. A nack is
// a failed attempt, which is repeated after the backoff. The ID of an event is not the UUID of its
// message, so that a message can be published to a topic again.
//
// # Guarantees
//
// A message is delivered at least once (E1), and only to one subscriber of the group at a time
// (E2). The messages of one channel are delivered in order, also after a nack (E4). Without
// Options.Channel, a topic has one channel. The context of a message ends when the process loses
// the message (cause events.ErrLost). The suite that Watermill publishes for its Pub/Subs passes.
//
// # Limits
//
// A message that is nacked is repeated without a limit, as Watermill expects. Set
// events.SubscriberOptions.MaxAttempts for dead letters. A publisher and a subscriber use at most
// 1,000 topics each. The values of a message's context do not travel, except its trace (option
// Trace of the bus).
//
// # Cost
//
// A message is one XADD in one round trip. Several messages of one Publish are sent as a batch,
// with the context of the first.
//
// # When not to use
//
// Use package events directly in new code: it has typed events, delays, an outbox and streams for
// browsers.
package redstartwatermill
