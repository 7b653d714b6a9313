// Package events carries typed events between processes. A live bus uses Pub/Sub, a durable bus
// uses Streams, and both have the same API.
//
// # Quick start
//
//	var orderPaid = events.NewTopic[Order]("order.paid")
//
//	// The durable bus "orders", and a subscriber of the group "mail". The processes of a group share the work.
//	bus, err := events.NewDurable(client, "orders", events.DurableOptions{})
//	sub, err := bus.Subscriber("mail", events.SubscriberOptions{})
//
//	// An error is retried with backoff, in order. After MaxAttempts the event becomes a dead letter.
//	err = orderPaid.Handle(sub, "orders:*", func(ctx context.Context, e events.Event[Order]) error {
//		return sendReceipt(ctx, e.ID, e.Data)
//	})
//	go sub.Run(ctx)
//
//	err = orderPaid.Publish(ctx, bus, "orders:42", order)
//
// # What
//
// A [Topic] is a type of event and the Go type of its data. Publish sends an event to a channel of
// a [Bus]. A [Subscriber] runs handlers for the channels that match a pattern, such as "users:*".
// Patterns follow the glob rules of Redis. An event is CloudEvents 1.0 JSON, so other programs can
// read it.
//
// There are two kinds of bus:
//
//   - [Live] is for data that is worthless a second later, such as presence, progress and cache
//     hints.
//   - [Durable] is for everything else. It has consumer groups, retries, dead letters and delayed
//     events.
//
// [Topic.AddToOutbox] adds an event within a database transaction, and an [Outbox] publishes it
// after the commit. [Durable.SSE] streams a channel to browsers, which resume after a lost
// connection. [Request] and [Answer] are request and reply over a live bus.
//
// The rules that all packages share, such as error classes, outages, names and sizes, are in
// https://github.com/redstart-go/redstart/blob/main/docs/conventions.md.
//
// # Guarantees
//
//   - A durable bus stores an event before Publish returns nil. Every group that exists handles the
//     event at least once, or has it as a dead letter (E1).
//   - While a handler runs and its process renews the lease, no other process handles the event
//     (E2). When the renewal fails, the handler's context ends with cause [ErrLost] before another
//     process starts. Event.Fence grows with each owner and fences a handler that continues.
//   - Attempts are counted on the server before a handler starts. After MaxAttempts the event is a
//     dead letter with its cause (E3). [Durable.DeadLetters] lists, redrives and drops dead
//     letters.
//   - The events of one channel are handled one after the other, in order, also across retries and
//     owners (E4). A failing event delays its own channel and no other channel.
//   - A live bus delivers an event at most once to each subscriber that runs. Every loss that the
//     client can detect is reported to OnGap (E5).
//   - When Run's context ends, running handlers finish within DrainTimeout, and all other events
//     return to the group (E6).
//   - Consumption continues after a restart, a failover or moved slots, without a restart of the
//     process (E7).
//   - An event is kept until every registered group has acknowledged it, or for Retention, or up to
//     MaxLen. An unhandled event that is cut is reported to OnGap (E8).
//   - An event from an outbox is published if and only if its transaction was committed.
//
// # Limits
//
//   - An event survives what the server survives. With appendfsync everysec, a crash of the server
//     can lose up to two seconds. A failover can lose the last writes, unless Publish waited for
//     replicas ([Confirm]).
//   - A handler can run twice: a process can die between the handler's return and the
//     acknowledgement. SubscriberOptions.Inbox skips most repeated events. An effect that is
//     idempotent by Event.ID is always safe.
//   - A process that dies can also count an attempt of up to 31 later events of its partition,
//     once. [MaxAttempts] of 1 and Inbox count one event at a time.
//   - An event with [Delay] or [At] appears within 100 ms after it is due while its producer runs,
//     otherwise within 30 s of another process of the bus. Until then [Durable.Cancel] removes it.
//   - The number of partitions is stored on first use and can't change. See "Another number of
//     partitions".
//   - A full server refuses Publish with redstart.ErrFull. Consumption continues, because it makes
//     room.
//   - There is one live bus per namespace of the client, however many Live values exist. It stores
//     nothing.
//
// # Cost
//
//   - A live Publish is one pipeline of two PUBLISH: one for the subscribers of the channel, and
//     one for the subscribers of patterns. From 16 KiB on it is one script, except in a cluster, so
//     that the text travels to the server once.
//   - A durable Publish is one XADD. With an ID, a delay or a time it is one script. Both are one
//     round trip.
//   - Consumption is one script per partition and poll. The script acknowledges, counts, parks and
//     reads. Under load, one script moves tens of events.
//   - An idle partition costs one script per quarter of the lease. The server notifies the process
//     of new events (client tracking). Without tracking, the process polls.
//   - One process of a bus examines all partitions every 30 s, or every quarter of Retention if
//     that is less.
//
// # When not to use
//
//   - Logs that are kept for weeks: stored events use the memory of the server. Use a log store
//     such as Kafka.
//   - Live events that must not get lost: use a durable bus.
//   - Work with priorities, unique jobs or cron schedules: use a job queue.
//   - Payloads above 1 MiB: store the data elsewhere, and publish its address.
//
// # Groups and deploys
//
// All processes of a group need the same handlers. In a rolling deploy they differ for some time.
// An event that only the other version handles waits for that version for at most 15 min, and then
// becomes a dead letter. Deploy the consumers of a new topic before its producers.
//
// [Durable.Group] and [Durable.Groups] describe groups, also groups without a running process: lag,
// parked, delayed and dead events, and the age of the oldest event. [Durable.AbandonedGroups] finds
// groups without processes, which keep events from being trimmed. [Durable.DropGroup] removes a
// group. [Durable.Pause] stops a group in all processes within a heartbeat, and [Durable.Resume]
// continues it.
//
// # Another number of partitions
//
// A bus can't get more partitions, because a channel would move to another stream. A second bus
// replaces the first one. This order of steps keeps the order of every channel:
//
//  1. Pause each group on the new bus. A group can be paused before it exists.
//  2. Deploy consumers with a subscriber on each bus, with the same handlers. The new subscribers
//     keep events and handle none.
//  3. Deploy producers and outboxes that publish to the new bus.
//  4. When nothing publishes to the old bus, wait for Group.Drained of each of its groups. Delayed
//     events count. Wait for them, or cancel them and publish them again.
//  5. Resume each group on the new bus.
//  6. Remove the old subscribers, and drop the old groups.
//
// Between step 3 and step 5 no handler of the new bus runs, and events wait. Order holds for the
// events of each producer. Producers of one channel that change at different times have no order
// among themselves.
package events
