package logqueue

import (
	"sync"
	"time"
)

// every is how often the same message about the same subject is logged at most.
const every = 10 * time.Second

// maxKnown bounds the remembered pairs of message and subject.
const maxKnown = 1024

// Limit limits the rate of log lines about outages. Its zero value is ready.
type Limit struct {
	mu   sync.Mutex
	last map[key]*notice
}

type key struct{ message, subject string }

type notice struct {
	at         time.Duration // clock: when it was logged last
	suppressed int           // since then
}

// Allow reports whether a line with this message and subject may be logged now, and how many were suppressed before it.
func (l *Limit) Allow(message, subject string, now time.Duration) (suppressed int, ok bool) {
	about := key{message, subject}
	l.mu.Lock()
	defer l.mu.Unlock()

	known := l.last[about]
	if known != nil && now-known.at < every {
		known.suppressed++
		return 0, false
	}
	if known == nil {
		if l.last == nil || len(l.last) >= maxKnown {
			l.last = make(map[key]*notice)
		}
		known = &notice{}
		l.last[about] = known
	}
	suppressed, known.suppressed, known.at = known.suppressed, 0, now
	return suppressed, true
}
