// Package thin keeps an outage from flooding the log: of warnings and errors that say the same, one a second is enough.
package thin

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Every is the least time between two lines of one message.
const Every = time.Second

// maxMessages bounds what is remembered. Messages are constants of the program; the variable part of a line is in its attributes.
const maxMessages = 1000

// Handler passes the first warning or error of each message on at once, and then at most one every second: with the number of
// those left out since the one before, "suppressed". Lines below a warning pass untouched.
func Handler(to slog.Handler) slog.Handler {
	return handler{to, &memory{seen: map[string]*state{}}}
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

func (h handler) Handle(ctx context.Context, line slog.Record) error {
	if line.Level < slog.LevelWarn {
		return h.Handler.Handle(ctx, line)
	}
	suppressed, pass := h.pass(line.Message, line.Time)
	if !pass {
		return nil
	}
	if suppressed > 0 {
		line = line.Clone() // its attributes may be shared
		line.AddAttrs(slog.Int64("suppressed", suppressed))
	}
	return h.Handler.Handle(ctx, line)
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
