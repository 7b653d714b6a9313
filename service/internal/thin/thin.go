// Package thin is a log sampler: an outage writes at most one warning or error per message and
// second.
package thin

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Every is the minimum time between two records of one message.
const Every = time.Second

// maxMessages bounds the memory. Messages are constants of the program; the variable parts are
// attributes.
const maxMessages = 1000

// Handler passes the first warning or error of each message, and then at most one per second. The
// attribute "suppressed" is the number of records that were dropped since the last one. Records
// below a warning always pass.
func Handler(next slog.Handler) slog.Handler {
	return handler{next, &memory{seen: map[string]*state{}}}
}

type handler struct {
	slog.Handler
	*memory
}

type memory struct {
	mu   sync.Mutex
	seen map[string]*state
}

type state struct {
	passed     time.Time
	suppressed int64
}

func (h handler) Handle(ctx context.Context, record slog.Record) error {
	if record.Level < slog.LevelWarn {
		return h.Handler.Handle(ctx, record)
	}
	suppressed, pass := h.pass(record.Message, record.Time)
	if !pass {
		return nil
	}
	if suppressed > 0 {
		record = record.Clone() // the attributes may be shared
		record.AddAttrs(slog.Int64("suppressed", suppressed))
	}
	return h.Handler.Handle(ctx, record)
}

func (m *memory) pass(message string, now time.Time) (suppressed int64, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.seen[message]
	switch {
	case s == nil && len(m.seen) == maxMessages:
		return 0, true
	case s == nil:
		s = &state{}
		m.seen[message] = s
	case now.Sub(s.passed) < Every:
		s.suppressed++
		return 0, false
	}
	suppressed, s.suppressed, s.passed = s.suppressed, 0, now
	return suppressed, true
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.Handler.WithAttrs(attrs), h.memory}
}

func (h handler) WithGroup(name string) slog.Handler {
	return handler{h.Handler.WithGroup(name), h.memory}
}
