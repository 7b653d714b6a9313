package main

import (
	"slices"

	"github.com/redstart-go/redstart/bench/callers"
)

// row is one work with the figure of Redstart, the figures of its rivals, and the limits.
type row struct {
	pattern string
	work    string
	ours    figure
	against []rival
	limits  []limit
}

// rival is the figure of another library for the same work. The figure of Redstart must be goal
// times as good, or with atMost at most goal times as large.
type rival struct {
	name   string
	figure figure
	goal   float64 // 0: no goal
	atMost bool
}

// limit is an absolute goal of a figure of Redstart.
type limit struct {
	what   string
	figure figure
	most   float64
	least  bool // most is a minimum
}

// in returns the benchmarks of a folder: in("lock")("OwnNames/standalone/callers=128/redstart",
// "ns/op").
func in(folder string) func(benchmark, unit string) figure {
	return func(benchmark, unit string) figure { return figure{folder, "Benchmark" + benchmark, unit} }
}

const (
	perOp  = "ns/op"
	allocs = "allocs/op"
	cpu    = "client-µs/op"
)

var (
	call  = in("../internal/core")
	cache = in("cache")
	lock  = in("lock")
	rate  = in("ratelimit")
	sess  = in("session")
	event = in("events")
)

// rows are the comparisons with more rivals or limits. The rows by number of callers and payload
// are in callers.go.
var rows = []row{
	{"ground", "a GET through the call layer, 128 goroutines", call("Call/core", perOp),
		[]rival{{"rueidis with options alike", call("Call/rueidis", perOp), 0, false},
			{"the client under the call layer", call("Call/raw", perOp), 0, false}},
		[]limit{{"allocations", call("Call/core", allocs), 2, false}}},

	{"cache", "near hit, a struct of strings, 1,024 keys", cache("NearHit/redstart", perOp), []rival{
		{"otter itself", cache("NearHit/otter", perOp), 2.5, true},
		{"go-redis/cache with its local cache", cache("NearHit/go-redis-cache", perOp), 30, false},
	}, []limit{{"allocations", cache("NearHit/redstart", allocs), 0, false}}},
	{"cache", "Redis hit, 128 goroutines", cache("RedisHit/redstart", perOp), []rival{
		{"go-redis/cache", cache("RedisHit/go-redis-cache", perOp), 2.5, false},
	}, []limit{{"allocations", cache("RedisHit/redstart", allocs), 12, false}}},
	{"cache", "cold miss, load and fill, 128 goroutines", cache("ColdMiss/redstart", perOp), []rival{
		{"go-redis/cache", cache("ColdMiss/go-redis-cache", perOp), 1.8, false},
	}, []limit{{"requests, the first two in one round trip", cache("ColdMiss/redstart", "requests/op"), 3.01, false}}},
	{"cache", "one cold key, 8 processes with 100 callers each, a load of 100 ms: the last caller after it",
		cache("Herd", "last-caller-ms"), nil, []limit{
			{"loads", cache("Herd", "loads/op"), 1, false},
			{"the last caller, ms after the load", cache("Herd", "last-caller-ms"), 20, false},
		}},
	{"cache", "`GetOrLoadMany` of 1,000 hits", cache("BatchOfHits/redstart", perOp), []rival{
		{"raw MGET and decoding", cache("BatchOfHits/raw-mget", perOp), 1.3, true},
	}, nil},

	{"lock", "acquire and release, own names, 128 goroutines", lock("OwnNames/standalone/callers=128/redstart", perOp), []rival{
		{"redislock", lock("OwnNames/standalone/callers=128/redislock", perOp), 2, false},
		{"redsync", lock("OwnNames/standalone/callers=128/redsync", perOp), 0, false},
		{"rueidislock", lock("OwnNames/standalone/callers=128/rueidislock", perOp), 1.1, false},
	}, nil},
	{"lock", "the same, 1 caller", lock("OwnNames/standalone/callers=1/redstart", perOp), []rival{
		{"redislock", lock("OwnNames/standalone/callers=1/redislock", perOp), 1.1, false},
		{"redsync", lock("OwnNames/standalone/callers=1/redsync", perOp), 0, false},
		{"rueidislock", lock("OwnNames/standalone/callers=1/rueidislock", perOp), 0, false},
	}, []limit{{"allocations", lock("OwnNames/standalone/callers=1/redstart", allocs), 4, false}}},
	{"lock", "the same, 16 callers", lock("OwnNames/standalone/callers=16/redstart", perOp), []rival{
		{"redislock", lock("OwnNames/standalone/callers=16/redislock", perOp), 1.1, false},
	}, nil},
	{"lock", "one name, 8 clients, per change of holder", lock("Handoff/standalone/callers=8/redstart", perOp), []rival{
		{"redislock, polling every 10 ms", lock("Handoff/standalone/callers=8/redislock", perOp), 10, false},
		{"redsync, polling every 10 ms", lock("Handoff/standalone/callers=8/redsync", perOp), 0, false},
		{"rueidislock", lock("Handoff/standalone/callers=8/rueidislock", perOp), 1, false},
	}, []limit{
		{"share of the luckiest client, of the mean", lock("Handoff/standalone/callers=8/redstart", "most/mean"), 2, false},
		{"share of the unluckiest client, of the mean", lock("Handoff/standalone/callers=8/redstart", "least/mean"), 0.5, true},
	}},
	{"lock", "lone waiter, release to grant, median", lock("LoneWaiter/redstart", "p50-µs"), []rival{
		{"redislock, polling every 10 ms", lock("LoneWaiter/redislock", "p50-µs"), 0, false},
		{"rueidislock", lock("LoneWaiter/rueidislock", "p50-µs"), 1.1, false},
	}, []limit{{"99th percentile, µs", lock("LoneWaiter/redstart", "p99-µs"), 10_000, false}}},
	{"lock", "a PING while 10,000 locks are renewed each second, 99th percentile", lock("Held/10000", "ping-p99-µs"), []rival{
		{"while none are held", lock("Held/0", "ping-p99-µs"), 0, true},
	}, []limit{{"goroutines, however many locks", lock("Held/10000", "goroutines"), 100, false}}},

	{"ratelimit", "GCRA, 128 goroutines, 1,024 keys", rate("Allow/gcra=redstart", perOp), []rival{
		{"redis_rate", rate("Allow/gcra=redis_rate", perOp), 5, false},
		{"throttled", rate("Allow/gcra=throttled", perOp), 0, false},
		{"a GET on rueidis", rate("Allow/get=rueidis", perOp), 2.5, true},
	}, []limit{{"allocations", rate("Allow/gcra=redstart", allocs), 4, false}}},
	{"ratelimit", "GCRA, 1 caller, 1,024 keys", rate("GCRA/callers=1/redstart", perOp), []rival{
		{"redis_rate", rate("GCRA/callers=1/redis_rate", perOp), 1.3, false},
		{"throttled", rate("GCRA/callers=1/throttled", perOp), 0, false},
	}, nil},
	{"ratelimit", "GCRA, 16 callers, 1,024 keys", rate("GCRA/callers=16/redstart", perOp), []rival{
		{"redis_rate", rate("GCRA/callers=16/redis_rate", perOp), 1.3, false},
		{"throttled", rate("GCRA/callers=16/throttled", perOp), 0, false},
	}, nil},
	{"ratelimit", "refusal of a key that is known to be refused", rate("Refused/known=redstart", perOp), []rival{
		{"a GET on rueidis", rate("Allow/get=rueidis", perOp), 100, false},
		{"redis_rate", rate("Refused/known=redis_rate", perOp), 0, false},
	}, []limit{{"commands", rate("Refused/known=redstart", "trips/op"), 0.001, false}}},
	{"ratelimit", "leased allow", rate("Allow/leased=redstart", perOp), []rival{
		{"GCRA without a lease", rate("Allow/gcra=redstart", perOp), 20, false},
	}, nil},
	{"ratelimit", "three rules at once", rate("Allow/three-rules=redstart", perOp), []rival{
		{"one rule", rate("Allow/gcra=redstart", perOp), 1.4, true},
	}, nil},
	{"ratelimit", "fixed window", rate("Allow/fixed=redstart", perOp), []rival{
		{"ulule/limiter", rate("Allow/fixed=ulule", perOp), 0, false},
	}, nil},
	{"ratelimit", "memory of a key with one rule after 10 requests, by MEMORY USAGE", rate("Memory/redstart", "B/key"), []rival{
		{"redis_rate", rate("Memory/redis_rate", "B/key"), 0, false},
		{"a log in a sorted set", rate("Memory/sorted-set", "B/key"), 0, false},
	}, []limit{{"bytes", rate("Memory/redstart", "B/key"), 170, false}}},

	{"session", "untouched request through the middleware, 128 goroutines", sess("Untouched/redstart", perOp), []rival{
		{"scs with an idle timeout", sess("Untouched/scs_idle_timeout", perOp), 4, false},
		{"scs without one", sess("Untouched/scs_no_idle_timeout", perOp), 0, false},
	}, []limit{
		{"allocations", sess("Untouched/redstart", allocs), 40, false},
		{"commands", sess("Untouched/redstart", "commands/op"), 1.01, false},
	}},
	{"session", "visitor without a cookie", sess("Visitor/redstart", perOp),
		[]rival{{"scs", sess("Visitor/scs", perOp), 0, false}}, []limit{
			{"allocations", sess("Visitor/redstart", allocs), 6, false},
			{"commands", sess("Visitor/redstart", "commands/op"), 0, false},
		}},
	{"session", "update", sess("Update/redstart", perOp), []rival{
		{"scs, which loses concurrent ones", sess("Update/scs,_which_loses_concurrent_ones", perOp), 0, false},
	}, []limit{{"round trips", sess("Update/redstart", "commands/op"), 2.01, false}}},
	{"session", "`RevokeUser` with 1,000 sessions, one script", sess("RevokeUser", perOp), nil, nil},

	{"events", "live: publish to typed handler, 128 publishers", event("Live/redstart/glob", perOp), []rival{
		{"go-redis and JSON into a map", event("Live/go-redis", perOp), 0.7, false},
		{"rueidis and JSON into a map", event("Live/rueidis", perOp), 0.7, false},
	}, nil},
	{"events", "live: 10 bytes, publish to typed handler, 1 publisher, client's processor time",
		event("LiveDelivery/size=10/publishers=1/exact/redstart", cpu), []rival{
			{"go-redis, into the same struct", event("LiveDelivery/size=10/publishers=1/exact/go-redis", cpu), 0, false},
			{"rueidis, into the same struct", event("LiveDelivery/size=10/publishers=1/exact/rueidis", cpu), 0.7, false},
		}, nil},
	{"events", "live: 10 bytes, publish to typed handler, 128 publishers that wait for their event, client's processor time",
		event("LiveDelivery/size=10/publishers=128/exact/redstart", cpu), []rival{
			{"go-redis, into the same struct", event("LiveDelivery/size=10/publishers=128/exact/go-redis", cpu), 0, false},
			{"rueidis, into the same struct", event("LiveDelivery/size=10/publishers=128/exact/rueidis", cpu), 0.7, false},
		}, nil},
	{"events", "live: 1 KiB, publish to typed handler, 1 publisher, client's processor time",
		event("LiveDelivery/size=1024/publishers=1/exact/redstart", cpu), []rival{
			{"go-redis, into the same struct", event("LiveDelivery/size=1024/publishers=1/exact/go-redis", cpu), 0, false},
			{"rueidis, into the same struct", event("LiveDelivery/size=1024/publishers=1/exact/rueidis", cpu), 0.7, false},
		}, nil},
	{"events", "live: 1 KiB, publish to typed handler, 128 publishers that wait for their event, client's processor time",
		event("LiveDelivery/size=1024/publishers=128/exact/redstart", cpu), []rival{
			{"go-redis, into the same struct", event("LiveDelivery/size=1024/publishers=128/exact/go-redis", cpu), 0, false},
			{"rueidis, into the same struct", event("LiveDelivery/size=1024/publishers=128/exact/rueidis", cpu), 0.7, false},
		}, nil},
	{"events", "live: 100 KiB, publish to typed handler, 1 publisher, client's processor time",
		event("LiveDelivery/size=102400/publishers=1/exact/redstart", cpu), []rival{
			{"go-redis, into the same struct", event("LiveDelivery/size=102400/publishers=1/exact/go-redis", cpu), 0, false},
			{"rueidis, into the same struct", event("LiveDelivery/size=102400/publishers=1/exact/rueidis", cpu), 0.7, false},
		}, nil},
	{"events", "live: 100 KiB, publish to typed handler, 128 publishers that wait for their event, client's processor time",
		event("LiveDelivery/size=102400/publishers=128/exact/redstart", cpu), []rival{
			{"go-redis, into the same struct", event("LiveDelivery/size=102400/publishers=128/exact/go-redis", cpu), 0, false},
			{"rueidis, into the same struct", event("LiveDelivery/size=102400/publishers=128/exact/rueidis", cpu), 0.7, false},
		}, nil},
	{"events", "live: 10,000 channels in one subscriber, publish to typed handler, 8 publishers",
		event("LiveManyChannels", perOp), nil, []limit{
			{"events out of order", event("LiveManyChannels", "disordered"), 0, false},
			{"heap, bytes per channel", event("LiveManyChannels", "heap-B/channel"), 2048, false},
			{"growth of the heap in this time, KiB", event("LiveManyChannels", "grown-KiB"), 4096, false},
		}},
	{"events", "durable: publish, 128 goroutines", event("DurablePublish/redstart", perOp), []rival{
		{"watermill-redisstream", event("DurablePublish/watermill", perOp), 1.5, false},
	}, nil},
	{"events", "durable: publish and consume, ordered per channel", event("DurablePublishAndConsume/redstart", perOp), []rival{
		{"watermill-redisstream", event("DurablePublishAndConsume/watermill", perOp), 4, false},
	}, nil},
	{"events", "durable: consume stored events of 100 bytes, 4 partitions",
		event("DurableConsume/redstart/partitions=4/consumers=1", perOp), []rival{
			{"watermill-redisstream, 1 topic", event("DurableConsume/watermill/topics=1", perOp), 8, false},
			{"watermill-redisstream, 16 topics", event("DurableConsume/watermill/topics=16", perOp), 8, false},
			{"16 partitions", event("DurableConsume/redstart/partitions=16/consumers=1", perOp), 0, false},
			{"2 consumers", event("DurableConsume/redstart/partitions=4/consumers=2", perOp), 0, false},
		}, []limit{
			{"events per second", event("DurableConsume/redstart/partitions=4/consumers=1", "events/s"), 100_000, true},
		}},
	{"events", "durable: idle system, publish to handler, median", event("DurableLatency", "p50-ms"), nil, []limit{
		{"median, ms", event("DurableLatency", "p50-ms"), 3, false},
		{"99th percentile, ms", event("DurableLatency", "p99-ms"), 15, false},
	}},
	{"events", "SSE: a client comes back and gets 10 events of its channel, of 5,000 in the log",
		event("SSEResume/redstart", perOp), []rival{
			{"reading the log with XRANGE", event("SSEResume/xrange", perOp), 10, false},
		}, nil},
	{"events", "SSE: 100 clients come back at once, for the same 60 events of 100 KiB", event("SSEStorm", perOp), nil, []limit{
		{"how often the server sends the log", event("SSEStorm", "log-reads/op"), 2, false},
	}},
	{"events", "outbox: relay a row of SQLite, with 2 ms to the server and back",
		event("OutboxRelay/redstart", "ns/row"), []rival{
			{"a pipeline of XADD, without ids and order", event("OutboxRelay/pipeline-of-xadd", "ns/row"), 0, false},
		}, []limit{{"rows per second", event("OutboxRelay/redstart", "rows/s"), 10_000, true}}},
}

// patterns returns the values of -only.
func patterns() (names []string) {
	for _, r := range rows {
		if !slices.Contains(names, r.pattern) {
			names = append(names, r.pattern)
		}
	}
	for _, work := range callers.Works {
		if !slices.Contains(names, work.Pattern) {
			names = append(names, work.Pattern)
		}
	}
	return names
}

// figures returns all figures of a row.
func (r row) figures() []figure {
	all := []figure{r.ours}
	for _, other := range r.against {
		all = append(all, other.figure)
	}
	for _, l := range r.limits {
		all = append(all, l.figure)
	}
	return all
}

// benchmarks returns the benchmarks to run, by folder.
func benchmarks(chosen selection) map[string][]string {
	wanted := map[string][]string{}
	add := func(figures []figure) {
		for _, f := range figures {
			if !slices.Contains(wanted[f.folder], f.benchmark) {
				wanted[f.folder] = append(wanted[f.folder], f.benchmark)
			}
		}
	}
	for _, r := range chosen.rows {
		add(r.figures())
	}
	for _, r := range chosen.callers {
		add(r.figures())
	}
	return wanted
}
