package main

// causes says why Redstart is slower than another library in some rows of a table, by pattern and
// work. The page prints a cause only if such a row was measured.
var causes = map[string]string{
	"cache: read a stored value": "With 1 MB and 128 callers, go-redis/cache sends one GET for all callers that ask for a key at " +
		"the same time. Redstart sends each read, on one or two connections " +
		"([0020](../docs/design/0020-cache-protocol.md#long-values)).",
	"cache: miss, load and store": "A miss of Redstart requests a lease before the load, and its fill is a script that compares " +
		"the lease. go-redis/cache does neither: two processes load the same key, and an old load overwrites a newer value " +
		"([0020](../docs/design/0020-cache-protocol.md#hits-and-misses-of-1-kib)).",
	"cache: store a value": "A set of Redstart copies the value, tries to compress it, and deletes the lease in a script. " +
		"go-redis/cache sends one SET, and overwrites newer values ([0020](../docs/design/0020-cache-protocol.md#long-values)).",
	"lock: acquire and release, a name per caller": "The callers share one connection, so 4 callers wait for the server " +
		"together. redislock uses four connections at the same time. A pair runs five commands in its scripts, redislock three: " +
		"Redstart reads the state and the time for its token and its queue " +
		"([0062](../docs/design/0062-one-allocation.md#next-to-the-rivals)).",
	"ratelimit: GCRA, one rule, 1,024 keys": "The callers share one connection, so 4 callers wait for the server together. " +
		"redis_rate uses four connections at the same time ([0070](../docs/design/0070-gcra-in-parts.md#next-to-the-rivals)).",
	"events: live: publish until the handler has the event": "An event has an envelope, and is published twice: to its channel, " +
		"and to the partition of patterns. From 16 KiB on, a script does this. A queue per channel is " +
		"between the reader and the handler, so that a slow handler " +
		"does not delay the others ([0039](../docs/design/0039-sse-and-live-costs.md#small-live-events)).",
	"events: durable: publish": "An event is written by a script. Redis copies each argument of a script into a Lua " +
		"string, and from it into the stream, which long events show ([0030](../docs/design/0030-turns-within-budgets.md)). " +
		"watermill-redisstream sends XADD.",
	"events: durable: publish until the handler has the event": "A consumer waits for a push, and then runs a script that " +
		"checks its lease, the order per channel and the retries. watermill-redisstream waits in XREADGROUP, and keeps no order " +
		"per channel ([0008](../docs/design/0008-durable-events.md#choices)).",
	"idempotency: a request with a new key, through the middleware": "Redstart runs two scripts, which compare the owner and the " +
		"request, store status and header, and work on a full server. The commands by hand store the body alone. 4 callers " +
		"share one connection, and the commands by hand use four ([0095](../docs/design/0095-idempotency-keys.md#costs)).",
	"events: live: 1 KiB, publish to typed handler, 128 publishers that wait for their event, client's processor time": "An " +
		"event has an envelope, a second PUBLISH for patterns, and a queue per channel. rueidis has none of them " +
		"([0039](../docs/design/0039-sse-and-live-costs.md#small-live-events)).",
	"events: durable: consume stored events of 100 bytes, 4 partitions": "With 16 topics, watermill-redisstream " +
		"reads 16 streams at once, and is twice as fast as with 1 topic. The two processors of the machine limit Redstart: " +
		"an event takes 7 µs in the client and 7 µs on the server " +
		"([0030](../docs/design/0030-turns-within-budgets.md)).",
}
