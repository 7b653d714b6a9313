package events

import (
	"slices"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/observe"
)

// busMetrics are the metrics of all bus values of one kind and name on a client. Each metric has
// one row per bus and subscriber name. Counters, and gauges of owned partitions, are sums. The age
// of the oldest event and "paused" are maxima. So a second value of the same bus adds no row.
type busMetrics struct {
	kind string // the label "kind": "live" or "durable"; a durable bus can also have the name "live"
	name string

	mu     sync.Mutex
	buses  []*busCommon
	remove func()
}

// register adds a bus to the metrics of its client until release is called.
func (b *busCommon) register(kind string) (release func()) {
	all := b.core.Shared("events metrics "+kind+" "+b.name, func() any { return &busMetrics{kind: kind, name: b.name} }).(*busMetrics)
	all.add(b.core, b)
	return func() { all.drop(b) }
}

func (m *busMetrics) add(c *core.Core, b *busCommon) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.buses = append(m.buses, b); len(m.buses) == 1 {
		m.remove = c.OnMetrics(m.rows)
	}
}

func (m *busMetrics) drop(b *busCommon) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.buses = slices.DeleteFunc(m.buses, func(other *busCommon) bool { return other == b })
	if len(m.buses) == 0 {
		m.remove()
	}
}

// merged returns the counters of the buses, the counters of subscribers by name, and the groups
// without a process. The groups come from the bus value that has read them last.
func (m *busMetrics) merged() (sum BusStats, names []string, sums []Stats, idle []Group) {
	m.mu.Lock()
	buses := slices.Clone(m.buses)
	m.mu.Unlock()
	var looked time.Time
	for _, b := range buses {
		s := b.stats.snapshot()
		sum.Published += s.Published
		sum.Duplicates += s.Duplicates
		sum.PublishErrors += s.PublishErrors
		sum.Trimmed += s.Trimmed
		for _, sub := range b.stats.all() {
			i := slices.Index(names, sub.name)
			if i < 0 {
				i = len(names)
				names, sums = append(names, sub.name), append(sums, Stats{})
			}
			sums[i].plus(sub.Stats())
		}
		if b.idleGroups == nil {
			continue
		}
		if groups, at := b.idleGroups(); at.After(looked) {
			idle, looked = groups, at
		}
	}
	idle = slices.DeleteFunc(slices.Clone(idle), func(g Group) bool { return slices.Contains(names, g.Name) })
	return sum, names, sums, idle
}

// metricRow is one metric without its labels.
type metricRow struct {
	name, help string
	kind       observe.Kind
	unit       string
	value      float64
}

const (
	counter = observe.Counter
	gauge   = observe.Gauge
)

func (m *busMetrics) rows(yield func(observe.Metric) bool) bool {
	sum, names, sums, idle := m.merged()
	emit := func(subscriber string, rows []metricRow) bool {
		labels := []observe.Label{{Name: "bus", Value: m.name}, {Name: "kind", Value: m.kind}}
		if subscriber != "" {
			labels = append(labels, observe.Label{Name: "subscriber", Value: subscriber})
		}
		for _, r := range rows {
			metric := observe.Metric{Name: "redstart.events." + r.name, Help: r.help, Kind: r.kind, Unit: r.unit,
				Labels: labels, Value: r.value}
			if !yield(metric) {
				return false
			}
		}
		return true
	}
	if !emit("", sum.rows()) {
		return false
	}
	for i, name := range names {
		if !emit(name, sums[i].rows()) {
			return false
		}
	}
	for _, g := range idle {
		if !emit(g.Name, g.rows()) {
			return false
		}
	}
	return true
}

func (s BusStats) rows() []metricRow {
	return []metricRow{
		{"published", "Events that were published.", counter, "1", float64(s.Published)},
		{"duplicates", "Events that were not stored because their id was published before.", counter, "1", float64(s.Duplicates)},
		{"publish_errors", "Publish calls that failed.", counter, "1", float64(s.PublishErrors)},
		{"trimmed", "Events cut from streams by this process.", counter, "1", float64(s.Trimmed)},
	}
}

func (s Stats) rows() []metricRow {
	return []metricRow{
		{"received", "Events that came from the server.", counter, "1", float64(s.Received)},
		{"handled", "Events whose handlers returned nil.", counter, "1", float64(s.Handled)},
		{"failed", "Attempts that failed.", counter, "1", float64(s.Failed)},
		{"panics", "Handlers that panicked.", counter, "1", float64(s.Panics)},
		{"unhandled", "Events that no handler matched.", counter, "1", float64(s.Unhandled)},
		{"retries", "Attempts after the first.", counter, "1", float64(s.Retries)},
		{"dead_lettered", "Events that became dead letters.", counter, "1", float64(s.DeadLettered)},
		{"parked", "Events that were parked behind a retry.", counter, "1", float64(s.Parked)},
		{"skipped", "Events whose id was in the inbox.", counter, "1", float64(s.Skipped)},
		{"deferred", "Times that an event waited for another version of the group's program.", counter, "1", float64(s.Deferred)},
		{"given_back", "Events that returned to the group unfinished.", counter, "1", float64(s.GivenBack)},
		{"leases_lost", "Leases of partitions that were lost.", counter, "1", float64(s.Lost)},
		{"gaps", "Known losses of events.", counter, "1", float64(s.Gaps)},
		{"dropped", "Live events that were dropped because the queue was full.", counter, "1", float64(s.Dropped)},
		{"filtered", "Live events that arrived with other events and matched no pattern.", counter, "1", float64(s.Filtered)},
		{"probes_failed", "Liveness probes that did not return.", counter, "1", float64(s.ProbesFailed)},
		{"in_flight", "Handlers running now.", gauge, "1", float64(s.InFlight)},
		{"held", "Events in this process now.", gauge, "1", float64(s.Held)},
		{"partitions", "Partitions owned now.", gauge, "1", float64(s.Partitions)},
		{"lag", helpLag, gauge, "1", float64(s.Lag)},
		{"waiting", helpWaiting, gauge, "1", float64(s.Waiting)},
		{"delayed", helpDelayed, gauge, "1", float64(s.Delayed)},
		{"dead", helpDead, gauge, "1", float64(s.Dead)},
		{"paused", helpPaused, gauge, "1", flag(s.Paused)},
		{"oldest_pending", helpOldest, gauge, "s", s.Oldest.Seconds()},
	}
}

// rows returns the gauges of a group without a process.
func (g Group) rows() []metricRow {
	return []metricRow{
		{"lag", helpLag, gauge, "1", float64(g.Lag)},
		{"waiting", helpWaiting, gauge, "1", float64(g.Waiting)},
		{"delayed", helpDelayed, gauge, "1", float64(g.Delayed)},
		{"dead", helpDead, gauge, "1", float64(g.Dead)},
		{"paused", helpPaused, gauge, "1", flag(!g.PausedSince.IsZero())},
		{"oldest_pending", helpOldest, gauge, "s", g.Oldest.Seconds()},
	}
}

const (
	helpLag     = "Events of the owned partitions that are unread or parked. Without a process of the group: of all partitions."
	helpWaiting = "Events of the owned partitions that are parked on the server."
	helpDelayed = "Events of the owned partitions that are not due yet."
	helpDead    = "Dead letters of the owned partitions."
	helpPaused  = "1 while the group is paused."
	helpOldest  = "Age of the oldest event that waits or is being handled."
)
