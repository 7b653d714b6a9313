package core

import (
	"errors"

	"github.com/redstart-go/redstart/internal/fault"
)

// Warn logs an outage for operators, at level Warn. The same message about the same subject (a
// node, or the name of a cache) is logged at most once in 10 s. message is a constant. Put values
// that vary into attrs, as for slog.Logger.Warn.
func (c *Core) Warn(message, subject string, attrs ...any) {
	suppressed, ok := c.notices.Allow(message, subject, c.clock.Now())
	if !ok {
		return
	}
	if suppressed > 0 {
		attrs = append(attrs, "suppressed", suppressed)
	}
	c.opt.Logger.Warn(message, attrs...)
}

// Degraded logs that a pattern answers without the server. policy names how ("fail-open", "stale
// value", "load without the cache"). A denied ACL rule has its own message, because it does not end
// without a change.
func (c *Core) Degraded(pattern, name, policy string, err error) {
	message := "redstart: server unavailable, degraded answers"
	if errors.Is(err, fault.ErrDenied) {
		message = "redstart: access denied, degraded answers"
	}
	c.Warn(message, pattern+"/"+name+"/"+policy, "pattern", pattern, "name", name, "policy", policy, "reason", err)
}
