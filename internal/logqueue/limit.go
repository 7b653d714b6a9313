package logqueue

import (
	"sync"
	"time"
)

// every is the shortest time between two log lines with the same message and subject.
const every = 10 * time.Second

// maxKnown bounds the number of remembered pairs of message and subject.
const maxKnown = 1024

// Limit limits the rate of log lines about outages. The zero value is ready for use.
type Limit struct {
	mu   sync.Mutex
	last map[key]*notice
}

type key struct{ message, subject string }

type notice struct {
	at         time.Duration // clock: time of the last line
	suppressed int           // lines since the last one
}

// Allow reports whether a line with this message and subject may be logged now. It also returns the
// number of lines that were suppressed since the last one.
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
