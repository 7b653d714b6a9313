// Package callers measures each pattern with 1, 4, 16 and 128 concurrent callers, next to a library
// with the same work. This file lists what is measured. The benchmarks and the command results both
// read the list, so that a row without a benchmark is an error.
package callers

import (
	"fmt"
	"slices"
)

// Work is one operation of a pattern, which Redstart and a rival do.
type Work struct {
	Pattern  string
	Name     string // in the name of the benchmark
	What     string // in the table
	Rival    string
	Payloads []int   // bytes of a value or of an event; empty: the work has no payload
	Goal     float64 // with 1 caller and the smallest payload on one server: so many times as fast; 0 for no goal
}

// Case is one measurement of a work.
type Case struct {
	Place   string // Standalone or Cluster
	Bytes   int    // 0: the work has no payload
	Callers int
}

// Standalone and Cluster are the places of a [Case].
const (
	Standalone = "standalone"
	Cluster    = "cluster"
)

// Redstart and Rival are the last part of the name of a benchmark.
const (
	Redstart = "redstart"
	Rival    = "rival"
)

// Benchmark is the name of the benchmark function.
const Benchmark = "BenchmarkCallers"

var (
	counts        = []int{1, 4, 16, 128}
	clusterCounts = []int{1, 16, 128} // a cluster has fewer rows, because a run has at most 15 minutes

	values = []int{256, 10_000, 1_000_000}
	events = []int{100, 10_000, 1_000_000}
)

// Works lists everything that is measured.
var Works = []Work{
	{"cache", "hit", "read a stored value", "go-redis/cache", values, 1.2},
	{"cache", "miss", "miss, load and store", "go-redis/cache", values, 0.8},
	{"cache", "set", "store a value", "go-redis/cache", values, 0},
	{"lock", "lock", "acquire and release, a name per caller", "redislock", nil, 1.1},
	{"lock", "handoff", "one name, per change of holder; one caller more than stated", "redislock, polling every 10 ms", nil, 0},
	{"ratelimit", "gcra", "GCRA, one rule, 1,024 keys", "redis_rate", nil, 1.3},
	{"session", "load", "load a session of 150 bytes", "scs", nil, 0},
	{"events", "live", "live: publish until the handler has the event", "go-redis", events, 0},
	{"events", "publish", "durable: publish", "watermill-redisstream", events, 0},
	{"events", "consume", "durable: publish until the handler has the event", "watermill-redisstream", events, 0},
	{"idempotency", "execute", "a request with a new key, through the middleware", "SET NX and SET with go-redis, by hand", nil, 0},
}

// Cases returns the measurements of a work: each payload with each number of callers on one server,
// and the smallest payload on a cluster.
func (w Work) Cases() (all []Case) {
	payloads := w.Payloads
	if len(payloads) == 0 {
		payloads = []int{0}
	}
	for _, bytes := range payloads {
		for _, n := range counts {
			all = append(all, Case{Standalone, bytes, n})
		}
	}
	for _, n := range clusterCounts {
		all = append(all, Case{Cluster, payloads[0], n})
	}
	return all
}

// Path returns the name of the benchmark of a case, for the library Redstart or Rival.
func (w Work) Path(c Case, library string) string {
	return fmt.Sprintf("%s/%s/%s/%s", Benchmark, w.Name, c, library)
}

// String is the part of a benchmark's name that identifies the case.
func (c Case) String() string {
	return fmt.Sprintf("%s/bytes=%d/callers=%d", c.Place, c.Bytes, c.Callers)
}

// Smallest reports whether the case has 1 caller and the smallest payload on one server.
func (w Work) Smallest(c Case) bool {
	return c.Place == Standalone && c.Callers == 1 && (len(w.Payloads) == 0 || c.Bytes == slices.Min(w.Payloads))
}
