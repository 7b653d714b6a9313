package console

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/redstart-go/redstart/observe"
)

// The budgets, for tests that reach them.
const (
	MaxStreams = maxStreams
	MaxTopics  = maxTopics
	MaxKept    = maxKept
	MaxLags    = maxLags
	Interval   = interval
	RingSize   = ringSize
)

// Live returns the numbers of streams and topics, and whether the poller runs.
func (c *Console) Live() (streams, topics int, polling bool) {
	c.live.mu.Lock()
	defer c.live.mu.Unlock()
	return c.live.streams, len(c.live.feeds), c.live.polling
}

// SetLive sets the life of streams and of an unwatched poller, and what happens before a topic is
// rendered. Call it before the first request.
func (c *Console) SetLive(life, linger time.Duration, rendering func(path string)) {
	c.live.life, c.live.linger = life, linger
	render := c.live.render
	c.live.render = func(ctx context.Context, t topic) []byte {
		rendering(t.path)
		return render(ctx, t)
	}
}

// Kept returns the number of sections whose last state is kept.
func (c *Console) Kept() int {
	c.kept.mu.Lock()
	defer c.kept.mu.Unlock()
	return len(c.kept.items)
}

// Lags returns the number of groups with a plot.
func (c *Console) Lags() int {
	c.lags.mu.Lock()
	defer c.lags.mu.Unlock()
	return len(c.lags.rings)
}

// OnExamine calls a function before each reading that all viewers share, on the goroutine of the
// reading. Call it before the first request.
func (c *Console) OnExamine(before func(ctx context.Context, name string)) {
	doctor, nodes := c.doctor.read, c.nodes.read
	c.doctor.read = func(ctx context.Context) (doctorFindings, error) {
		before(ctx, "doctor")
		return doctor(ctx)
	}
	c.nodes.read = func(ctx context.Context) (nodeStates, error) {
		before(ctx, "nodes")
		return nodes(ctx)
	}
}

// ExamineEvery sets the age of the shared readings. Call it before the first request.
func (c *Console) ExamineEvery(age time.Duration) { c.doctor.age, c.nodes.age = age, age }

// ChartLines returns the lines of the charts: chart, label, metric and values of a label.
func ChartLines() (lines [][4]string) {
	for _, spec := range charts {
		for _, m := range spec.lines {
			lines = append(lines, [4]string{spec.id, m.label, "redstart." + m.metric, m.values})
		}
	}
	return lines
}

// Sample samples metrics at some times and returns the values of each line by chart and label, and
// the length of the time axis.
func Sample(at []time.Time, metrics func(i int) []observe.Metric) (values map[string][]float64, length time.Duration) {
	now := 0
	s := newSampler(iter.Seq[observe.Metric](func(yield func(observe.Metric) bool) { slices.Values(metrics(now))(yield) }))
	for i, t := range at {
		now = i
		s.sample(t)
	}
	values = make(map[string][]float64)
	for _, spec := range charts {
		for _, m := range spec.lines {
			key := spec.id + " " + m.label
			for _, p := range s.ring(key).points() {
				values[key] = append(values[key], p.value)
			}
		}
	}
	for _, c := range s.read() {
		length = max(length, time.Duration(c.length())*time.Millisecond)
	}
	return values, length
}
