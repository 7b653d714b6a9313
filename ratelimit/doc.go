// Package ratelimit limits how often something happens, over all processes, by the server's clock.
//
// # What
//
//   - [Limiter] admits or refuses requests of a key by one or more rules: [Limiter.Allow],
//     [Limiter.Wait], [Limiter.Middleware], [Limiter.Transport].
//   - [Limiter.With] returns another plan of the same keys. [Plans] stores rules in Redis, under
//     names, and changes them at run time.
//   - [Concurrency] limits how many requests run at the same time.
//   - [ClientAddress], [Header], [By] and [Route] make keys of HTTP requests.
//
// # Quick start
//
//	limiter, err := ratelimit.New(client, "api", ratelimit.Options{
//		Rules: []ratelimit.Rule{ratelimit.PerSecond(10), ratelimit.PerHour(1000)},
//	})
//	if err != nil {
//		return err
//	}
//	…
//	result, err := limiter.Allow(ctx, user)
//	if err != nil {
//		return err
//	}
//	if !result.Allowed {
//		return fmt.Errorf("too many requests, try again in %v", result.RetryAfter)
//	}
//
// # Guarantees
//
//   - R1: Over all processes, the tokens admitted in any window never exceed the bound of the
//     algorithm (see the table). A step back of the server's clock does not change this. A step
//     forward admits what the skipped time would have admitted. A failover that loses the last
//     writes admits their tokens again.
//   - R2: A request charges all rules or none. A refused request and [Limiter.Peek] change nothing.
//   - R3: A retry after RetryAfter succeeds if no other request is charged in the meantime. One
//     microsecond earlier, it fails.
//   - R4: After Redis refused a key, this process denies the key from memory, without a round trip,
//     until its time and for costs that are at least as large. It asks Redis again at least once
//     per second.
//   - R5: An outage is never a refusal: see [Outage].
//   - R6: A client cannot forge the key of [ClientAddress].
//
// The algorithms:
//
//	algorithm      admitted in any window, at most        memory per key           use it for
//	GCRA           Burst + Limit (in any time w:          170 B, 32 B per          most limits: the least work,
//	               Burst + Limit·w/Window)                further rule             and a steady refill
//	SlidingLog     Limit                                  5 kB, and 20 B per       few and expensive requests: logins,
//	                                                      request in the window    payments; O(log n) per call
//	SlidingWindow  2·Limit; evenly used: 4 % above Limit  200 B, 54 B per rule     long windows and high limits
//	FixedWindow    2·Limit, around a window's end         180 B, 38 B per rule     quotas per hour, day or month of a
//	                                                                               time zone (Rule.Calendar)
//
// GCRA with its default Burst = Limit can admit 2·Limit in the first window of an unused key: the
// burst at once, and as much again while it refills. If that is too much, set [Rule.Burst] or use
// SlidingLog. With Burst 1, any window has at most Limit + 1 requests, evenly spaced.
//
// # Limits
//
//   - A limiter has at most 16 rules. A Limit is at most 1,000,000,000 and a Window at most 366
//     days.
//   - Plans with an equal rule share its count. SlidingLog has one log per key: every plan sees all
//     requests of the key.
//   - [Options.Lease] adds processes · Batch to the bound.
//   - [Limiter.Wait] is fair within a process. Processes compete.
//   - With [FailOpen], the default, requests are not limited while Redis does not answer.
//
// Classes of errors, outages, names and sizes:
// https://github.com/redstart-go/redstart/blob/main/docs/conventions.md
//
// # Cost
//
//   - A request: one round trip, one script and one key, for any number of rules. Concurrent
//     requests of one limiter share a script call, except in a cluster.
//   - A denial from memory (R4), and most requests of a leased key: no round trip.
//   - Wait: about one command per token for all waiters of a key.
//   - Memory on the server: see the table (MEMORY USAGE on Redis 7.0, with a key of 60 bytes; a TTL
//     adds 30 bytes). Memory in the process: up to 65,536 denied keys.
//
// # When not to use
//
//   - To limit one process only, use golang.org/x/time/rate.
//   - To make work wait until a permit is free, use the semaphore of package lock.
//   - To count exactly for billing, use a database: a failover can lose the last writes.
//   - To stop a flood before it reaches the service, limit at the load balancer.
package ratelimit
