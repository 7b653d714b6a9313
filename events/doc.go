// Package events carries typed events between processes: live over Pub/Sub, or durable over Streams, behind one API.
//
//	Live     who is subscribed now gets the event, at most once; every loss that the client can know of is told (E5)
//	Durable  every group that exists gets the event at least once, or has it as a dead letter (E1), in order per channel (E4)
//
// # Use
//
// A [Topic] is a type of event and the Go type of its data. Publish sends one to a channel of a [Bus]; a [Subscriber]
// runs handlers for the channels that match a glob, with Redis' rules: "users:*".
//
// Events of one channel are handled one after the other, in order; different channels at the same time, up to
// SubscriberOptions.Concurrency. An event is CloudEvents 1.0 JSON, so other programs can read it.
//
// # Durable: what is promised, and where it ends
//
//   - An event whose Publish returned nil survives what the server survives. With appendfsync always that is a crash; with
//     everysec up to two seconds can be lost; a failover can lose the last writes, unless Publish waited for replicas
//     ([Confirm]).
//   - At least once: a process that dies between handling an event and saying so has it handled again, by another, within the
//     lease and two seconds. A handler that must not run twice uses SubscriberOptions.Inbox (which still runs twice when the
//     process dies in between) or makes its effect idempotent by Event.ID.
//   - While a handler runs and its process renews, nobody else gets the event, however long it takes (E2). When the renewal fails, the
//     handler's context ends with cause [ErrLost] before another process may begin; one that goes on all the same, or a process
//     that was stopped and woke up, is fenced by Event.Fence, which grows with each owner.
//   - An attempt is counted before the handler starts. A process that dies may also have counted the attempt of up to 31 events
//     behind, once: they are tried again after the backoff like one that failed. MaxAttempts of 1 and Inbox count one event at a time.
//   - A failing event holds up its own channel, not others: what waits behind it is parked on the server. After MaxAttempts it
//     is a dead letter with the cause; [Durable.DeadLetters] lists, redrives and drops them.
//   - Events are kept until every registered group has acknowledged them (E8), or for Retention, or up to MaxLen. A group that
//     is not used any more holds events until [Durable.DropGroup].
//   - The number of partitions is stored on first use: events of one channel stay in one stream.
//
// When the server is out of memory Publish returns redstart.ErrFull, and consumption goes on: that makes room.
//
// # Cost
//
// A live Publish is one pipeline of two PUBLISH: one for those who want the channel, one for those who want a pattern. A
// durable Publish is one XADD, or one script with an ID, a delay or a time. Consuming takes one script per partition and turn,
// which acknowledges, counts, parks and reads together: under load a turn moves tens of events. An idle partition costs a
// script per quarter of the lease; the server pushes when there is more (client tracking), so nothing is polled where it can.
//
// # Choice of bus
//
// Use Live for what is worthless a second later and is sent again: presence, progress, cache hints. Use Durable for the rest.
package events
