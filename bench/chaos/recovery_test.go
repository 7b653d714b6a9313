package chaos_test

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// success is what a worker has to show after a fault.
type success struct {
	worker  int
	pattern string
}

// failure is the last error of a worker with a pattern.
type failure struct {
	text string
	at   time.Time
}

// patterns are the calls whose success each worker reports.
var patterns = []string{"publish", "handle", "lock", "session", "limit", "delete", "cache"}

// unrecovered returns the workers and patterns without a successful call that began after since,
// with the last success and the last error of each. Handlers run where the partitions are, so one
// worker is enough for them.
func (h *history) unrecovered(since time.Time) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []string
	for _, pattern := range patterns {
		var missing []string
		for worker := range workers {
			if s := (success{worker, pattern}); !h.succeeded[s].After(since) {
				missing = append(missing, h.describe(s))
			}
		}
		if pattern != "handle" || len(missing) == workers {
			all = append(all, missing...)
		}
	}
	return strings.Join(all, "; ")
}

// describe says when a worker last succeeded with a pattern, and its last error.
func (h *history) describe(s success) string {
	last := "no success"
	if at, ok := h.succeeded[s]; ok {
		last = fmt.Sprintf("last success %v ago", time.Since(at).Round(time.Millisecond))
	}
	err := "no error"
	if f, ok := h.failed[s]; ok {
		err = fmt.Sprintf("last error %v ago: %s", time.Since(f.at).Round(time.Millisecond), f.text)
	}
	return fmt.Sprintf("process %d, %s: %s, %s", s.worker, s.pattern, last, err)
}

// working returns the workers that have not ended their calls.
func (h *history) working() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []string
	for worker := range workers {
		if !h.quiet[worker] {
			all = append(all, fmt.Sprintf("process %d", worker))
		}
	}
	return strings.Join(all, ", ")
}

// unhandledChannels returns the channels with confirmed events that were not handled.
func (h *history) unhandledChannels() (all []string) {
	for channel, last := range h.confirmed {
		handled := 0
		if c := h.handled[channel]; c != nil {
			for n := range c.seen {
				if n <= last {
					handled++
				}
			}
		}
		if handled < last {
			all = append(all, fmt.Sprintf("%s: %d of %d", channel, handled, last))
		}
	}
	slices.Sort(all)
	return all
}
