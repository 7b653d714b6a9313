package console

import (
	"iter"
	"math"
	"sync"
	"time"

	"github.com/redstart-go/redstart/observe"
)

// The rings hold the last ringSize samples, one per interval: five minutes.
const (
	interval = 2 * time.Second
	ringSize = 150
)

// measure is a sum of counters that a chart shows as one line.
type measure struct {
	label  string
	metric string // name without "redstart."
	values string // values of the label result or outcome, separated by a space; "" for any
}

// chartSpec is one chart of the overview: rates per second.
type chartSpec struct {
	id, title string
	lines     []measure
}

// charts are the charts of the overview. A chart is hidden while this process has none of its
// metrics.
var charts = []chartSpec{
	{"cache", "Cache reads", []measure{
		{label: "near cache", metric: "cache.requests", values: "near"},
		{label: "Redis", metric: "cache.requests", values: "hit negative"},
		{label: "stale", metric: "cache.requests", values: "stale"},
		{label: "miss", metric: "cache.requests", values: "miss"},
	}},
	{"loads", "Cache loads", []measure{
		{label: "loads", metric: "cache.loads"},
		{label: "failed", metric: "cache.load.errors"},
	}},
	{"locks", "Locks", []measure{
		{label: "acquired", metric: "lock.acquired"},
		{label: "waited", metric: "lock.waited"},
		{label: "lost", metric: "lock.lost"},
	}},
	{"limits", "Rate limits", []measure{
		{label: "allowed", metric: "ratelimit.requests", values: "allowed leased unlimited"},
		{label: "refused", metric: "ratelimit.requests", values: "refused refused_locally"},
		{label: "outage", metric: "ratelimit.requests", values: "degraded failed"},
	}},
	{"sessions", "Session loads", []measure{
		{label: "hit", metric: "session.loads", values: "hit"},
		{label: "miss", metric: "session.loads", values: "miss foreign unreadable"},
		{label: "unavailable", metric: "session.loads", values: "unavailable"},
	}},
	{"permits", "Permits", []measure{
		{label: "granted", metric: "ratelimit.permits", values: "granted"},
		{label: "refused", metric: "ratelimit.permits", values: "refused"},
		{label: "lapsed", metric: "ratelimit.permits", values: "lapsed"},
		{label: "outage", metric: "ratelimit.permits", values: "degraded"},
	}},
	{"idempotency", "Idempotency", []measure{
		{label: "executed", metric: "idempotency.requests", values: "executed without_key"},
		{label: "replayed", metric: "idempotency.requests", values: "replayed"},
		{label: "refused", metric: "idempotency.requests", values: "in_flight reused malformed missing not_repeatable too_large"},
		{label: "outage", metric: "idempotency.requests", values: "degraded unavailable"},
	}},
	{"events", "Events", []measure{
		{label: "published", metric: "events.published"},
		{label: "handled", metric: "events.handled"},
		{label: "failed", metric: "events.failed"},
		{label: "dead", metric: "events.dead_lettered"},
	}},
	{"calls", "Calls to Redis that failed", []measure{
		{label: "timed out", metric: "calls.timeouts"},
		{label: "breaker opened", metric: "breaker.opened"},
	}},
}

// sampler reads the metrics of the client into rings.
type sampler struct {
	metrics iter.Seq[observe.Metric]

	mu    sync.Mutex
	last  reading
	rings map[string]*ring // by id of the chart and label of the line
	seen  map[string]bool  // ids of charts whose metrics exist
}

// reading has the sums of all lines at one time.
type reading struct {
	at   time.Time
	sums map[string]float64
}

func newSampler(metrics iter.Seq[observe.Metric]) *sampler {
	return &sampler{metrics: metrics, rings: make(map[string]*ring), seen: make(map[string]bool)}
}

// linesOf has the lines that each metric counts for.
var linesOf = indexLines()

type line struct {
	chart  string
	key    string
	values []string
}

// sample adds one value to each ring. A sample that comes before half of the interval has passed is
// skipped, so that a page load next to the poller adds no second one.
func (s *sampler) sample(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.last.at.IsZero() && now.Sub(s.last.at) < interval/2 {
		return
	}
	next := reading{at: now, sums: s.sums()}
	defer func() { s.last = next }()
	if s.last.at.IsZero() {
		return
	}

	seconds := now.Sub(s.last.at).Seconds()
	for _, spec := range charts {
		for _, m := range spec.lines {
			key := spec.id + " " + m.label
			s.ring(key).add(now, max(0, next.sums[key]-s.last.sums[key])/seconds)
		}
	}
}

// sums reads the metrics once.
func (s *sampler) sums() map[string]float64 {
	sums := make(map[string]float64)
	for m := range s.metrics {
		for _, l := range linesOf[m.Name] {
			s.seen[l.chart] = true
			if l.counts(m) {
				sums[l.key] += m.Value
			}
		}
	}
	return sums
}

func (s *sampler) ring(key string) *ring {
	r := s.rings[key]
	if r == nil {
		r = &ring{}
		s.rings[key] = r
	}
	return r
}

// read returns the charts whose metrics exist.
func (s *sampler) read() []chart {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []chart
	for _, spec := range charts {
		if !s.seen[spec.id] || spec.id == "calls" && s.quiet(spec) {
			continue
		}
		c := chart{Title: spec.title, Unit: "per second"}
		for _, m := range spec.lines {
			c.add(m.label, s.ring(spec.id+" "+m.label))
		}
		all = append(all, c)
	}
	return all
}

// quiet reports whether all lines of a chart are 0.
func (s *sampler) quiet(spec chartSpec) bool {
	for _, m := range spec.lines {
		for _, p := range s.ring(spec.id + " " + m.label).points() {
			if p.value > 0 {
				return false
			}
		}
	}
	return true
}

// ring has the last ringSize values of one line.
type ring struct {
	at   [ringSize]int64 // Unix time in ms
	vals [ringSize]float32
	next int
	n    int
}

type point struct {
	at    int64 // Unix time in ms
	value float64
}

func (r *ring) add(at time.Time, value float64) {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		value = 0
	}
	r.at[r.next], r.vals[r.next] = at.UnixMilli(), float32(value)
	r.next = (r.next + 1) % ringSize
	r.n = min(r.n+1, ringSize)
}

// points returns the values in order of time.
func (r *ring) points() []point {
	all := make([]point, 0, r.n)
	for i := range r.n {
		at := (r.next - r.n + i + ringSize) % ringSize
		all = append(all, point{r.at[at], float64(r.vals[at])})
	}
	return all
}
