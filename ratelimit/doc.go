// Package ratelimit limits how often something may happen, over all processes, by the clock of the server.
//
// GCRA with Burst = Limit, the default, can admit 2·Limit in the first window of a key that rested: the burst at once, and as
// much again while it refills. Where that is too much, set Rule.Burst (Burst 1 admits Limit + 1 in any window, evenly
// spaced; Burst = Limit/10 a tenth more than Limit), or take SlidingLog.
//
//	algorithm      admitted in any window, at most        memory per key           use it for
//	GCRA           Burst + Limit (in any time w:          170 B, 32 B per          almost everything: the least work, and
//	               Burst + Limit·w/Window)                further rule             what was used comes back evenly
//	SlidingLog     Limit                                  5 kB, and 20 B per       few and dear: logins, payments, mails;
//	                                                      request in the window    O(log n) per call
//	SlidingWindow  2·Limit; evenly used: 4 % above Limit  200 B, 54 B per rule     long windows and high limits
//	FixedWindow    2·Limit, around a window's end         180 B, 38 B per rule     quotas per hour, day or month of a
//	                                                                               time zone (Rule.Calendar) or of UTC
//
// (R1. Memory by MEMORY USAGE on Redis 7.0, with a key of 60 bytes; a TTL costs 30 bytes more. A log's first 4 kB are the
// block that Redis allocates for a stream.)
//
//	limiter, err := ratelimit.New(client, "api", ratelimit.Options{
//		Rules: []ratelimit.Rule{ratelimit.PerSecond(10), ratelimit.PerHour(1000)},
//	})
//	…
//	result, err := limiter.Allow(ctx, user)
//	if err != nil {
//		return err
//	}
//	if !result.Allowed {
//		return fmt.Errorf("too many requests, try again in %v", result.RetryAfter)
//	}
//
// A request is one round trip: one script, whatever the number of rules, and one key.
//
// # Guarantees
//
//   - R1 The bounds of the table hold over all processes, also when the server's clock steps back. A step forward costs what the
//     step would have brought; a failover that loses the last writes costs those.
//   - R2 All rules are charged or none. What is refused or peeked changes nothing.
//   - R3 A retry after RetryAfter succeeds if alone; one microsecond earlier it fails.
//   - R4 A key that Redis refused is refused from memory, without a round trip, until its time and for costs at least as
//     large; but Redis is asked again at least once per second.
//   - R5 An outage is never a refusal: see Outage.
//   - R6 ClientAddress can't be forged: see there.
//
// # Several rules, several plans
//
// With makes a limiter with other rules on the same keys. A rule's count belongs to the rule: plans that have an equal rule
// share its count, others count apart. SlidingLog keeps one log per key: there every plan sees all of a key's
// requests.
//
// Plans stores rules under names, for rules that change at run time and for overrides per key.
//
// # Leasing
//
// For keys so busy that a round trip per request is too much, Options.Lease takes tokens in batches. Its bound stands
// there: processes · Batch on top of the table's.
//
// # Concurrency
//
// Concurrency limits how much runs at the same time rather than how often it starts.
package ratelimit
