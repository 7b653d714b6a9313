package clock

import (
	"time"

	"github.com/redstart-go/redstart/internal/tick"
)

// Coarse is a coarse clock that follows a source. Its times are durations since its start.
type Coarse struct {
	ticks  *tick.Clock
	source *Source
}

// NewCoarse returns a clock that shows the time of ticks, moved like the source.
func NewCoarse(ticks *tick.Clock, source *Source) *Coarse { return &Coarse{ticks, source} }

// Now returns the time, at most one grain old. See [tick.Clock.Now].
func (c *Coarse) Now() time.Duration { return c.ticks.Now() + c.source.Ahead() }

// Exact returns the exact time.
func (c *Coarse) Exact() time.Duration { return c.ticks.Exact() + c.source.Ahead() }

// Deadline returns a channel that is closed after the delay of the ticks. It bounds a call, so a
// move of the source does not shorten it.
func (c *Coarse) Deadline() <-chan struct{} { return c.ticks.Deadline() }

// At returns a channel that is closed at due, at most two grains late.
func (c *Coarse) At(due time.Duration) <-chan struct{} { return c.ticks.At(due - c.source.Ahead()) }
