package core

import (
	"errors"

	"github.com/redstart-go/redstart/internal/fault"
)

// Warn logs what an operator must know about an outage: at level Warn, and at most once in 10 s for the same message and
// subject (a node, the name of a cache). message is a constant; what varies goes into attrs, as in slog.Logger.Warn.
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

// Degraded logs that a pattern answers without the server: policy says how ("fail-open", "stale value", "load without the
// cache"). A denied ACL rule is logged apart from outages, because waiting does not help.
func (c *Core) Degraded(pattern, name, policy string, err error) {
	message := "redstart: server unavailable, degraded answers"
	if errors.Is(err, fault.ErrDenied) {
		message = "redstart: access denied, degraded answers"
	}
	c.Warn(message, pattern+"/"+name+"/"+policy, "pattern", pattern, "name", name, "policy", policy, "reason", err)
}
