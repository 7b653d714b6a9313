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
