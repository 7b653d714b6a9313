package console

import (
	"context"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/redstart-go/redstart/inspect"
	"github.com/redstart-go/redstart/observe"
)

// The budgets, for tests that reach them.
const (
	MaxStreams  = maxStreams
	MaxPersonal = maxPersonal
	MaxTopics   = maxTopics
	MaxKept     = maxKept
	MaxLags     = maxLags
	MaxFindings = maxFindings
	Interval    = interval
	RingSize    = ringSize
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

// Find makes Doctor return findings. Call it before the first request.
func (c *Console) Find(found []inspect.Finding) {
	c.doctor.read = func(context.Context) (doctorFindings, error) { return findingsOf(found), nil }
}

// SetTimes sets how long the body of a repair and the write of a page or an event may take. Call it
// before the first request.
func (c *Console) SetTimes(form, write time.Duration) { c.formTime, c.live.write = form, write }

// TakeTurns takes all turns of pages and repairs until the function that it returns is called.
func (c *Console) TakeTurns() (giveBack func()) {
	for _, t := range []turns{c.reading, c.repairing} {
		for range cap(t) {
			t <- struct{}{}
		}
	}
	return func() {
		for _, t := range []turns{c.reading, c.repairing} {
			for range cap(t) {
				<-t
			}
		}
	}
}

// RepairPaths returns the path of each repair.
func RepairPaths() []string { return slices.Sorted(maps.Keys(repairs)) }

// PagePaths returns the path of each page.
func PagePaths() (paths []string) {
	for _, p := range pages {
		paths = append(paths, p.path)
	}
	return paths
}

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
