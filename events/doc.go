// Package events carries typed events between processes: live over Pub/Sub, or durable over Streams, behind one API.
//
//	var orderPaid = events.NewTopic[Order]("order.paid")
//
//	bus, err := events.NewDurable(client, "orders", events.DurableOptions{})
//	…
//	sub, err := bus.Subscriber("mail", events.SubscriberOptions{}) // a group: its processes share the work
//	…
//	err = orderPaid.Handle(sub, "orders:*", func(ctx context.Context, e events.Event[Order]) error {
//		return sendReceipt(ctx, e.ID, e.Data) // an error is tried again, in order, and becomes a dead letter in the end
//	})
//	…
//	go sub.Run(ctx)
//	…
//	err = orderPaid.Publish(ctx, bus, "orders:42", order)
//
// # Which bus
//
//	Live     a subscriber that runs now gets the event, at most once; every loss that the client can know of is reported (E5)
//	Durable  every group that exists gets the event at least once, or has it as a dead letter (E1), in order per channel (E4)
//
// Use Live for what is worthless a second later and is sent again: presence, progress, cache hints. Use Durable for the rest.
//
// A [Topic] is a type of event and the Go type of its data. Publish sends one to a channel of a [Bus]; a [Subscriber] runs
// handlers for the channels that match a glob, with Redis' rules: "users:*". Events of one channel are handled one after the
// other, in order; different channels at the same time, up to SubscriberOptions.Concurrency. [Subscriber.Use] wraps the handlers.
// An event is CloudEvents 1.0 JSON, so other programs can read it.
//
// # Durable: guarantees and limits
//
//   - An event whose Publish returned nil survives what the server survives. With appendfsync always that is a crash; with
//     everysec up to two seconds can be lost; a failover can lose the last writes, unless Publish waited for replicas
//     ([Confirm]).
//   - At least once: when a process dies between handling an event and acknowledging it, another process handles it again, within the
//     lease and two seconds. A handler that must not run twice uses SubscriberOptions.Inbox (which still runs twice when the
//     process dies in between) or makes its effect idempotent by Event.ID.
//   - While a handler runs and its process renews, no other process gets the event, however long it takes (E2). When the renewal fails, the
//     handler's context ends with cause [ErrLost] before another process may begin; a handler that continues, or a process
//     that was stopped and woke up, is fenced by Event.Fence, which grows with each owner.
//   - An attempt is counted before the handler starts. A process that dies may also have counted the attempt of up to 31 events
//     behind, once: they are tried again after the backoff like one that failed. [MaxAttempts] of 1 and Inbox count one event at a time.
//   - A failing event holds up its own channel, not others: what waits behind it is parked on the server. After MaxAttempts it
//     is a dead letter with the cause; [Durable.DeadLetters] lists, redrives and drops them.
//   - Events are kept until every registered group has acknowledged them (E8), or for Retention, or up to MaxLen. Both bounds hold for
//     parked events too, and without a group that runs.
//   - An event with [Delay] or [At] appears when it is due, by the server's clock, also if no group runs: within 100 ms while its producer
//     runs, else within 30 s of another process of the bus. Until then [Durable.Cancel] takes it back. Events that are due together keep their order.
//   - The number of partitions is stored on first use: events of one channel stay in one stream.
//
// When the server is out of memory Publish returns redstart.ErrFull, and consumption goes on: that makes room.
//
// # Durable: groups
//
// All processes of a group need the same handlers. In a rolling deploy they differ for a while: an event that only the other version
// handles is left to it, for 15 minutes at most, and then becomes a dead letter. Deploy consumers of a new topic before its producers.
//
// [Durable.Group] and [Durable.Groups] describe groups, also those that no process runs: what waits, what is parked, delayed and dead, and the age
// of the oldest event. [Durable.Orphans] finds groups that hold events for nothing, [Durable.DropGroup] forgets one.
// [Durable.Pause] stops a group in all processes within a heartbeat, and [Durable.Resume] continues it.
//
// # Durable: another number of partitions
//
// Partitions can't be added to a bus, because a channel would change its stream. A second bus takes over, in this order, which keeps
// the order of every channel:
//
//  1. Pause each group on the new bus. A group may be paused before it exists.
//  2. Deploy consumers with a subscriber on each bus, with the same handlers. The new ones are ready, keep events, and handle none.
//  3. Deploy producers, and outboxes, that publish to the new bus.
//  4. When nothing publishes to the old bus, wait for Group.Drained of each of its groups. Delayed events count: wait for them, or
//     cancel them and publish them again.
//  5. Resume each group on the new bus.
//  6. Remove the old subscribers, and drop the old groups.
//
// Handlers pause from step 3 to step 5, and events wait. Order holds for the events of each producer; producers of one channel that do not change at the
// same time have no order among themselves.
//
// # Database transactions and browsers
//
// An [Outbox] publishes the rows that transactions have left in a table: an event is published if and only if its transaction was committed.
// [OutboxSchema] has the tables for SQLite, PostgreSQL and MySQL, [Topic.AddTo] adds a row, Outbox.Run relays. [Durable.SSE] streams a channel
// to browsers, which resume after a lost connection.
//
// # Cost
//
// A live Publish is one pipeline of two PUBLISH: one for the subscribers of the channel, one for those of a pattern. From 16 KiB on, it
// is one script outside of a cluster, so that the text travels to the server once. A
// durable Publish is one XADD, or one script with an ID, a delay or a time. Consuming takes one script per partition and turn,
// which acknowledges, counts, parks and reads together: under load a turn moves tens of events. An idle partition costs a
// script per quarter of the lease; the server pushes when there is more (client tracking), so nothing is polled where it can.
// One process of a bus looks at all partitions every 30 s (a quarter of Retention, if that is less).
package events
