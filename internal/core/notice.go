package core

import (
	"errors"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/fault"
)

// noticeEvery is how often the same message about the same subject is logged at most.
const noticeEvery = 10 * time.Second

// maxNotices bounds the remembered pairs of message and subject.
const maxNotices = 1024

// notices limits the rate of log lines about outages.
type notices struct {
	mu   sync.Mutex
	last map[noticeKey]*notice
}

type noticeKey struct{ message, subject string }

type notice struct {
	at         time.Duration // clock: when it was logged last
	suppressed int           // since then
}

// allow reports whether a line may be logged now, and how many were suppressed before it.
func (n *notices) allow(key noticeKey, now time.Duration) (suppressed int, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()

	known := n.last[key]
	if known != nil && now-known.at < noticeEvery {
		known.suppressed++
		return 0, false
	}
	if known == nil {
		if n.last == nil || len(n.last) >= maxNotices {
			n.last = make(map[noticeKey]*notice)
		}
		known = &notice{}
		n.last[key] = known
	}
	suppressed, known.suppressed, known.at = known.suppressed, 0, now
	return suppressed, true
}

// Warn logs what an operator must know about an outage: at level Warn, and at most once in 10 s for the same message and
// subject (a node, the name of a cache). message is a constant; what varies goes into attrs, as in slog.Logger.Warn.
func (c *Core) Warn(message, subject string, attrs ...any) {
	suppressed, ok := c.notices.allow(noticeKey{message, subject}, c.clock.Now())
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
