package tick

import "time"

// DeadlineLate is Deadline for a caller that stands still between its two steps. It has read the
// time before.
func (c *Clock) DeadlineLate(before time.Duration) <-chan struct{} {
	return c.bucket(int64(before)).ch[0]
}
