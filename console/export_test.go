package console

import (
	"context"
	"time"
)

// The budgets, for tests that reach them.
const (
	MaxStreams = maxStreams
	MaxTopics  = maxTopics
	MaxKept    = maxKept
	MaxLags    = maxLags
	Interval   = interval
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
