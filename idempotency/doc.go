// Package idempotency executes an HTTP request once per Idempotency-Key, over all processes, and
// replays its result.
//
// # What
//
//   - [Executor.Middleware] runs a handler once per key, and answers a repeated request with the
//     stored status, header and body. It follows draft-ietf-httpapi-idempotency-key-header-07 of 15
//     October 2025.
//   - [Options.Scope] separates the keys of clients.
//   - [Outage] and [LargeRequests] are the policies for requests that cannot be checked.
//
// # Quick start
//
//	executor, err := idempotency.New(client, "orders", idempotency.Options{
//		Scope:    func(r *http.Request) (string, error) { return userOf(r), nil },
//		Required: true,
//	})
//	if err != nil {
//		return err
//	}
//	mux.Handle("POST /orders", executor.Middleware(createOrder))
//
// A client sends Idempotency-Key: "8e03978e-40d5-43e8-bc93-6894a57f9324" and repeats the request
// with the same key until it gets an answer.
//
// # Guarantees
//
//   - I1: While an execution holds the lease of its key, no other execution of the key begins, in
//     any process. After a crash, the key is free after [Options.Lease]. If the lease is lost, the
//     context of the handler ends.
//   - I2: No byte of a response is sent before the execution is recorded. A repeated request gets
//     the same status, header and body within [Options.Retention], also if the first answer was
//     lost.
//   - I3: A key belongs to one client and one request. Another method, path, query or body is 422.
//     Another scope is another key.
//   - I4: Only the owner of the lease stores a result. A late owner never overwrites the record of
//     a newer owner.
//   - I5: An outage before the execution is never an execution with [FailClosed], and never a
//     refusal with [FailOpen].
//
// # Limits
//
//   - The handler and Redis do not share a transaction. If a process crashes after the handler has
//     changed a database and before the result is stored, a repeated request is executed again
//     after the lease. Make such a change unique in the database too, for example by a unique
//     column with the key.
//   - A result that Redis does not confirm is sent, and stored in the background for the time of
//     the lease. If Redis is down for longer, a repeated request is executed again.
//   - A failover can lose the last results and leases, because Redis replicates asynchronously. A
//     running execution restores its lease within a third of it.
//   - Not stored: Set-Cookie, trailers, and the fields of one connection, such as Connection and
//     Date. Fields that a middleware outside of this one sets have their present values.
//   - Results are stored without encryption. Do not return secrets from a handler that is replayed,
//     or protect Redis as the data of the responses requires.
//   - A request holds up to MaxRequestBytes and MaxResponseBytes in memory.
//   - The host of a request does not count, so a repeated request to another instance gets the
//     stored result: put the host into the scope if one handler serves hosts with separate data.
//   - Put compression outside of this middleware, and limits of requests too: a 429 of a limit
//     inside would be replayed.
//
// Classes of errors, outages, names and sizes:
// https://github.com/redstart-go/redstart/blob/main/docs/conventions.md
//
// # Cost
//
//   - An execution: two round trips, one script each. A handler that runs longer than a third of
//     the lease: one more per third.
//   - A replay, a 409 or a 422: one round trip.
//   - Memory on the server: the response and about 250 B, for Retention.
//
// # When not to use
//
//   - For methods that are idempotent, such as PUT and DELETE, and for reads.
//   - For a handler whose whole effect is one database transaction: store the key in the same
//     transaction.
//   - To recognize duplicate events, use the deduplication of package events.
package idempotency
